package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gofrs/flock"
)

// ToolsEnv names the environment variable with the folder of the built servers, if it is
// not to be .cache/bin in the module.
const ToolsEnv = "OKLOG_TOOLS"

// tool is a program that `go install` builds.
type tool struct {
	name    string // of the binary
	pkg     string
	version string
}

// minioTool is the last version of an archived project.
func minioTool() tool {
	return tool{"minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"}
}

func versityTool() tool {
	return tool{"versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"}
}

// Install builds the servers that are not built yet and returns the paths of all of them.
// The first build takes some minutes.
func Install(ctx context.Context) ([]string, error) {
	var paths []string
	for _, t := range []tool{minioTool(), versityTool()} {
		path, err := t.install(ctx)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// install returns the path of the built tool; it builds it first if it has to.
func (t tool) install(ctx context.Context) (string, error) {
	dir, err := toolsDir()
	if err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	exe := ""
	if runtime.GOOS == "windows" {
		exe = ".exe"
	}
	path := filepath.Join(dir, t.name+"-"+t.version+exe)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	lock := flock.New(filepath.Join(dir, t.name+".lock"))
	if err := lock.Lock(); err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	defer lock.Close()
	if _, err := os.Stat(path); err == nil { // somebody else built it meanwhile
		return path, nil
	}
	build, err := os.MkdirTemp(dir, "build-"+t.name+"-")
	if err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	defer os.RemoveAll(build)

	// Outside the module, and with nothing of its settings: the build is the same
	// whoever starts it.
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", t.pkg+"@"+t.version)
	cmd.Dir = build
	cmd.Env = without(os.Environ(), "GOFLAGS", "GOWORK", "GOOS", "GOARCH", "GOBIN", "CGO_ENABLED", "GO111MODULE")
	cmd.Env = append(cmd.Env, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOBIN="+build)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("install %s: go install %s@%s: %w\n%s", t.name, t.pkg, t.version, err, out.Bytes())
	}
	if err := os.Rename(filepath.Join(build, t.name+exe), path); err != nil {
		return "", fmt.Errorf("install %s: %w", t.name, err)
	}
	return path, nil
}

// toolsDir finds .cache/bin in the module that the working folder is in.
func toolsDir() (string, error) {
	if dir := os.Getenv(ToolsEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module oklog\n") {
			return filepath.Join(dir, ".cache", "bin"), nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("the working folder is not in the module; set %s to the folder for the built servers", ToolsEnv)
		}
		dir = parent
	}
}

func without(env []string, names ...string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		drop := false
		for _, n := range names {
			drop = drop || name == n
		}
		if !drop {
			kept = append(kept, kv)
		}
	}
	return kept
}
