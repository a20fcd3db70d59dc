package imports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "oklog"

// inside says, for each package of the module, which others of it the package may import. Commands are left out: they import
// what they like of the rest. Paths are below the module's.
func inside() map[string][]string {
	leaves := []string{"objstore", "objstore/segment"}
	return map[string][]string{
		"compact":                             leaves,
		"ingest":                              append([]string{"ingest/stream"}, leaves...),
		"ingest/forward":                      leaves,
		"ingest/stream":                       {"objstore/segment"},
		"ingest/stream/embedded":              nil,
		"query":                               append([]string{"query/match", "query/required", "query/where", "query/cache"}, leaves...),
		"query/match":                         {"query/dfa", "query/required"},
		"query/where":                         {"query/match", "query/required"},
		"query/spread":                        {"query", "objstore/segment"},
		"query/dfa":                           nil,
		"query/required":                      nil,
		"query/cache":                         nil,
		"query/querytest":                     leaves,
		"query/api":                           {"objstore/segment", "query", "query/api/wire", "query/where"},
		"query/api/wire":                      {"query"},
		"query/client":                        {"objstore/segment", "query", "query/api/wire"},
		"query/tail":                          {"objstore/segment", "query"},
		"objstore":                            nil,
		"objstore/segment":                    nil,
		"objstore/dir":                        {"objstore"},
		"objstore/s3":                         {"objstore"},
		"objstore/metrics":                    {"objstore"},
		"objstore/open":                       {"objstore", "objstore/dir", "objstore/s3"},
		"objstore/buckettest":                 {"objstore"},
		"objstore/buckettest/servers":         {"objstore/s3"},
		"objstore/buckettest/servers/install": {"objstore/buckettest/servers"},
	}
}

// outside says who alone may import a library: the paths of packages of the module, or of folders of packages with a
// slash at the end. A library is named by the beginning of its path.
func outside() map[string][]string {
	return map[string][]string{
		"github.com/nats-io/nats.go":                                {"ingest/stream"},
		"github.com/synadia-io/orbit.go":                            {"ingest/stream"},
		"github.com/nats-io/nats-server":                            {"ingest/stream/embedded"},
		"github.com/minio/minio-go":                                 {"objstore/s3"},
		"github.com/klauspost/compress":                             {"objstore/segment", "query/api", "query/client"},
		"github.com/urfave/cli":                                     {"cmd/"},
		"golang.org/x/term":                                         {"cmd/"},
		"github.com/prometheus/client_golang":                       {"cmd/oklog", "compact", "ingest", "ingest/forward", "query/api", "query/spread", "objstore/metrics"},
		"github.com/prometheus/client_golang/prometheus/promhttp":   {"cmd/"},
		"github.com/prometheus/client_golang/prometheus/push":       {"cmd/"},
		"github.com/prometheus/client_golang/prometheus/collectors": {"cmd/"},
		"github.com/prometheus/client_golang/prometheus/promauto":   {"nobody"},
		"github.com/prometheus/client_golang/prometheus/testutil":   {"nobody"},
		"testing": {"nobody"},
	}
}

// testHelpers are packages that exist for tests: they may import what tests may, and only tests may import them.
func testHelpers(path string) bool {
	return under(path, "objstore/buckettest") || under(path, "query/querytest")
}

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// violations tells which rules a package breaks.
func violations(p pkg) (found []string) {
	self, ok := local(p.ImportPath)
	if !ok {
		return []string{fmt.Sprintf("%s is not in module %s", p.ImportPath, module)}
	}
	allowed, known := inside()[self]
	isCmd := under(self, "cmd")
	if !known && !isCmd {
		found = append(found, fmt.Sprintf("%s is in no table: say in cmd/internal/imports what it may import", self))
	}
	for _, path := range p.Imports {
		dep, ours := local(path)
		switch {
		case !ours:
			for lib, owners := range outside() {
				if under(path, lib) && !owns(owners, self) && !(lib == "testing" && testHelpers(self)) {
					found = append(found, fmt.Sprintf("%s imports %s, which is for %s alone", self, path, strings.Join(owners, ", ")))
				}
			}
		case testHelpers(dep) && !testHelpers(self):
			found = append(found, fmt.Sprintf("%s imports %s, which is for tests", self, dep))
		case isCmd && under(dep, "cmd") && !under(dep, "cmd/internal"):
			found = append(found, fmt.Sprintf("%s imports the command %s", self, dep))
		case !isCmd && under(dep, "cmd"):
			found = append(found, fmt.Sprintf("%s imports %s: commands import the rest, never the other way", self, dep))
		case known && !slices.Contains(allowed, dep):
			found = append(found, fmt.Sprintf("%s imports %s: it may import %s of the module", self, dep, cmp.Or(strings.Join(allowed, ", "), "nothing")))
		}
	}
	for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
		if dep, ours := local(path); ours && !isCmd && under(dep, "cmd") {
			found = append(found, fmt.Sprintf("a test of %s imports %s: commands test themselves", self, dep))
		}
	}
	return found
}

// local is a package's path below the module's.
func local(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// under tells whether path is root or lies in it.
func under(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}

func owns(owners []string, self string) bool {
	return slices.ContainsFunc(owners, func(owner string) bool {
		if folder, ok := strings.CutSuffix(owner, "/"); ok {
			return under(self, folder)
		}
		return owner == self
	})
}

// list runs go list for an operating system.
func list(t *testing.T, goos string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = "../../.."
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return pkgs
		case err != nil:
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestModule(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		pkgs := list(t, goos, "./...")
		var paths []string
		for _, p := range pkgs {
			self, _ := local(p.ImportPath)
			paths = append(paths, self)
			for _, v := range violations(p) {
				t.Errorf("%s: %s", goos, v)
			}
		}
		for path := range inside() {
			if !slices.Contains(paths, path) {
				t.Errorf("%s: package %s has a rule, and is not there", goos, path)
			}
		}
	}
}

// A program that only reads does not carry a server, or what writes.
func TestQueryLinks(t *testing.T) {
	linked := list(t, "linux", "-deps", "./cmd/oklog-query")
	seen := false
	for _, p := range linked {
		seen = seen || p.ImportPath == "github.com/nats-io/nats.go"
		for _, not := range []string{"github.com/nats-io/nats-server", "oklog/ingest/stream/embedded", "oklog/ingest/forward",
			"github.com/prometheus", "google.golang.org/protobuf", "testing"} {
			if under(p.ImportPath, not) {
				t.Errorf("oklog-query links %s", p.ImportPath)
			}
		}
		if p.ImportPath == "oklog/ingest" {
			t.Error("oklog-query links the ingester")
		}
	}
	if !seen {
		t.Errorf("among the %d packages that oklog-query links there is no nats.go: is this the right program?", len(linked))
	}
}

func TestRulesCanFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		pkg  pkg
		want string // part of the one violation; none if empty
	}{
		{"a leaf imports the other", pkg{ImportPath: "oklog/objstore", Imports: []string{"oklog/objstore/segment"}}, "it may import nothing"},
		{"the other way round", pkg{ImportPath: "oklog/objstore/segment", Imports: []string{"oklog/objstore"}}, "it may import nothing"},
		{"a compactor asks queries", pkg{ImportPath: "oklog/compact", Imports: []string{"oklog/query"}}, "it may import objstore, objstore/segment"},
		{"a role imports a role", pkg{ImportPath: "oklog/query", Imports: []string{"oklog/ingest"}}, "it may import query/match, query/required, query/where, query/cache, objstore, objstore/segment"},
		{"a role imports the broker", pkg{ImportPath: "oklog/ingest/forward", Imports: []string{"oklog/ingest/stream"}}, "ingest/forward imports ingest/stream"},
		{"a leaf imports a role", pkg{ImportPath: "oklog/objstore/s3", Imports: []string{"oklog/query"}}, "it may import objstore"},
		{"a role imports a command", pkg{ImportPath: "oklog/query", Imports: []string{"oklog/cmd/internal/flags"}}, "never the other way"},
		{"a role's test imports a command", pkg{ImportPath: "oklog/query", XTestImports: []string{"oklog/cmd/oklog"}}, "commands test themselves"},
		{"a command imports another", pkg{ImportPath: "oklog/cmd/oklog", Imports: []string{"oklog/cmd/oklog-query"}}, "imports the command"},
		{"a role knows kinds of buckets", pkg{ImportPath: "oklog/ingest", Imports: []string{"oklog/objstore/open"}}, "ingest imports objstore/open"},
		{"a program holds test servers", pkg{ImportPath: "oklog/cmd/oklog", Imports: []string{"oklog/objstore/buckettest/servers"}}, "is for tests"},
		{"NATS elsewhere", pkg{ImportPath: "oklog/query", Imports: []string{"github.com/nats-io/nats.go/jetstream"}}, "ingest/stream alone"},
		{"NATS in a command", pkg{ImportPath: "oklog/cmd/oklog", Imports: []string{"github.com/nats-io/nats.go"}}, "ingest/stream alone"},
		{"batch get elsewhere", pkg{ImportPath: "oklog/ingest", Imports: []string{"github.com/synadia-io/orbit.go/jetstreamext"}}, "ingest/stream alone"},
		{"a server in the client", pkg{ImportPath: "oklog/ingest/stream", Imports: []string{"github.com/nats-io/nats-server/v2/server"}}, "embedded alone"},
		{"S3 elsewhere", pkg{ImportPath: "oklog/objstore/open", Imports: []string{"github.com/minio/minio-go/v7"}}, "objstore/s3 alone"},
		{"flags in a library", pkg{ImportPath: "oklog/query", Imports: []string{"github.com/urfave/cli/v2"}}, "cmd/ alone"},
		{"zstd elsewhere", pkg{ImportPath: "oklog/ingest", Imports: []string{"github.com/klauspost/compress/zstd"}}, "objstore/segment, query/api, query/client alone"},
		{"metrics in a bucket", pkg{ImportPath: "oklog/objstore/s3", Imports: []string{"github.com/prometheus/client_golang/prometheus"}}, "objstore/metrics alone"},
		{"metrics in a reader", pkg{ImportPath: "oklog/query", Imports: []string{"github.com/prometheus/client_golang/prometheus"}}, "objstore/metrics alone"},
		{"testing in a program", pkg{ImportPath: "oklog/cmd/oklog", Imports: []string{"testing"}}, "nobody alone"},
		{"a new package", pkg{ImportPath: "oklog/sideways"}, "in no table"},
		{"another module", pkg{ImportPath: "oklogs/query"}, "is not in module"},

		{"a command imports a role", pkg{ImportPath: "oklog/cmd/oklog", Imports: []string{"oklog/query", "oklog/cmd/internal/flags", "github.com/urfave/cli/v2"}}, ""},
		{"ingest counts", pkg{ImportPath: "oklog/ingest", Imports: []string{"github.com/prometheus/client_golang/prometheus"}}, ""},
		{"ingest works on the stream", pkg{ImportPath: "oklog/ingest", Imports: []string{"oklog/ingest/stream", "oklog/objstore/segment"}}, ""},
		{"tests take any part", pkg{ImportPath: "oklog/ingest", XTestImports: []string{"oklog/query", "oklog/objstore/dir", "github.com/nats-io/nats.go"}}, ""},
		{"a name that begins alike", pkg{ImportPath: "oklog/query", Imports: []string{"github.com/nats-io/nats.gopher", "testingx"}}, ""},
		{"a helper of tests", pkg{ImportPath: "oklog/objstore/buckettest", Imports: []string{"testing", "oklog/objstore"}}, ""},
	} {
		got := violations(tt.pkg)
		if tt.want == "" && len(got) > 0 {
			t.Errorf("%s: got %q, want none", tt.name, got)
		}
		if tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)) {
			t.Errorf("%s: got %q, want one with %q", tt.name, got, tt.want)
		}
	}
}
