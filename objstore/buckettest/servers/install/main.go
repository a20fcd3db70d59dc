// Command install builds the S3 servers that the tests run, so that a later `go test` need
// not. It prints the paths of the programs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"oklog/objstore/buckettest/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	paths, err := servers.Install(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, path := range paths {
		fmt.Println(path)
	}
}
