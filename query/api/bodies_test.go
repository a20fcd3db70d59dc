package api

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"oklog/query/api/wire"
)

// Clients that send large bodies by drops do not fill the memory: one has a share of what there is, and others are served meanwhile.
func TestManyBodies(t *testing.T) {
	p := newPlace(t)
	store(t, p.bucket, "web", 3)
	a := newAPI(t, p.config())
	_, addr := serveReal(t, ServerConfig{Handler: a})
	refused := 0
	const most = yourBodies / maxBody
	for i := range most + 3 {
		c := dial(t, addr)
		size := fmt.Sprintf("Content-Length: %d", maxBody)
		if i%2 == 1 {
			size = "Transfer-Encoding: chunked"
		}
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\nExpect: 100-continue\r\n\r\n", wire.Query, size); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n') // 100 once it is being read
		switch {
		case err != nil:
			t.Fatal(err)
		case strings.Contains(line, " 429 "):
			refused++
		case !strings.Contains(line, " 100 "):
			t.Errorf("%s", line)
		}
	}
	if refused != 3 {
		t.Errorf("%d are refused", refused)
	}
	a.bodies.mu.Lock()
	if a.bodies.all != yourBodies {
		t.Errorf("%d bytes", a.bodies.all)
	}
	a.bodies.mu.Unlock()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+wire.Query, strings.NewReader("topic=web"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if have, _ := do(t, r).texts(t); len(have) != 3 {
		t.Errorf("%q", have)
	}
}

// Room that was taken is given back, once.
func TestBodies(t *testing.T) {
	b := newBodies(1)
	var all []func()
	for i := 0; ; i++ {
		free, err := b.take(&http.Request{ContentLength: -1}, fmt.Sprint(i))
		if err != nil {
			if !errors.Is(err, errBusy) || i != allBodies/maxBody {
				t.Errorf("%d: %v", i, err)
			}
			break
		}
		all = append(all, free)
	}
	for _, free := range all {
		free()
		free()
	}
	if b.all != 0 || len(b.of) != 0 {
		t.Errorf("%+v", b)
	}
}
