package api

import (
	_ "embed"
	"net/http"
)

// openapi describes the API to programs and to those who write them.
//
//go:embed openapi.json
var openapi []byte

// OpenAPI is the description of the API, OpenAPI 3.1.
func OpenAPI() []byte { return openapi }

func (a *API) openAPI(x *exchange) error {
	x.told.status, x.told.outcome = http.StatusOK, "ok"
	x.w.Header().Set("Content-Type", "application/json")
	_, _ = a.inOne(x.w).Write(openapi) // nobody is there to be told
	return nil
}
