// Package client asks oklog serve over HTTP.
//
//	c, err := client.New(client.Config{URL: "https://logs.example.com:7651", Token: secret})
//	...
//	ans, err := c.Run(ctx, query.Request{Topic: "web", From: "1h", Patterns: []string{"panic"}}, func(r query.Record) error {
//		fmt.Printf("%s\n", r.Text)
//		return nil
//	})
//
// What the package keeps to:
//
//   - An answer that was cut off is an error, ErrCut, whatever its status: only what ends with the line that says so is whole. An
//     answer that may lack records is no error: see query.Answer.Partial.
//   - A server is not trusted: lines, bodies and what they decompress to are bounded, and nothing in them makes the client panic.
//   - Errors are one line, name the server, and say what to do. One about a parameter is a *query.ParamError. The token is in none of them.
//   - Nothing is repeated: whoever asks knows whether that makes sense. A Request goes on behind the last record as page says: with
//     its ULID as From, or, newest first, as To.
package client
