package importcheck

import (
	"bufio"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mailhaul/mailhaul"

// forTests are the folders of internal that are for tests, benchmarks and the
// demonstration only. In the rules they are called internal/tests.
var forTests = []string{"bench", "corpus", "delayproxy", "faults", "identitylab", "imapserver", "importcheck", "mailclient", "memmail", "mempipe", "oracle", "pop3server", "testserver"}

// rules says what the packages of a folder may import of this module: "x" is
// package x, "x/" is what lies below it, "." is the root. The folder itself,
// and what lies below it, it always may, except for drivers. The first rule
// whose folder holds the package counts.
var rules = []struct {
	folder string
	may    []string
}{
	{".", nil},
	{"throttle", nil},
	{"imapx", []string{".", "throttle", "internal"}},
	{"pop3x", []string{".", "throttle", "internal"}},
	{"uidmap", []string{".", "internal"}},
	{"checkpoint", []string{".", "uidmap", "internal"}},
	{"sync", []string{".", "throttle", "uidmap", "checkpoint", "internal"}},
	{"examples", []string{".", "throttle", "imapx", "pop3x", "uidmap", "uidmap/", "checkpoint", "checkpoint/", "sync"}},

	// What tests are built of shares no code with what is tested.
	{"internal/tests", []string{".", "internal/tests"}},
	{"internal", []string{".", "throttle", "internal"}},
}

// demo is the one file of the examples that may import internal packages: a
// user's own copy of the program compiles without it.
const demo = "examples/migrate/demo.go"

// class is the folder that a package counts as: folders for tests are
// internal/tests, whatever they are called.
func class(pkg string) string {
	for _, f := range forTests {
		if pkg == "internal/"+f || strings.HasPrefix(pkg, "internal/"+f+"/") {
			return "internal/tests"
		}
	}
	return pkg
}

func within(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

// allowed says why the file of package from may not import package to, or
// nothing.
func allowed(file, from, to string) string {
	if file == demo && within(to, "internal") {
		return ""
	}
	from, to = class(from), class(to)
	for _, r := range rules {
		if !within(from, r.folder) {
			continue
		}
		if r.folder != "." && within(to, r.folder) && (r.folder != "internal" || to != "internal/tests") {
			return ""
		}
		for _, m := range r.may {
			switch {
			case m == to,
				strings.HasSuffix(m, "/") && strings.HasPrefix(to, m),
				m == "internal" && within(to, "internal") && to != "internal/tests":
				return ""
			}
		}
		return fmt.Sprintf("%s may import %v of this module only", r.folder, r.may)
	}
	return "importcheck has no rule for it: add one"
}

// sources returns all Go files of the module with their imports from it, test
// files left out, whatever system they are for.
func sources(t *testing.T, root string) map[string][]string {
	files := make(map[string][]string)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(name, "go.mod"))
			if name != root && (nested == nil || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		file := filepath.ToSlash(rel)
		files[file] = nil
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if within(p, module) {
				files[file] = append(files[file], path.Clean("."+strings.TrimPrefix(p, module)))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImportsPointOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	if f, err := os.Open(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	} else {
		defer f.Close()
		line, err := bufio.NewReader(f).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != "module "+module {
			t.Fatalf("go.mod begins with %q: %v", line, err)
		}
	}
	files := sources(t, root)
	if len(files) < 10 || files["server.go"] != nil {
		t.Fatalf("found %d files only, or imports in the root", len(files))
	}
	for file, imports := range files {
		from := path.Dir(file)
		for _, to := range imports {
			if why := allowed(file, from, to); why != "" {
				t.Errorf("%s imports %s: %s", file, to, why)
			}
		}
	}
}

// TestRulesHold: the check finds what it is there to find.
func TestRulesHold(t *testing.T) {
	for _, tt := range []struct {
		file, to string
		ok       bool
	}{
		{"server.go", "throttle", false},
		{"server.go", "internal/transport", false},
		{"throttle/limit.go", ".", false},
		{"imapx/source.go", ".", true},
		{"imapx/source.go", "imapx/internal/wire", true},
		{"imapx/source.go", "internal/transport", true},
		{"imapx/source.go", "internal/imapserver", false},
		{"imapx/source.go", "sync", false},
		{"imapx/internal/wire/framer.go", ".", true},
		{"uidmap/dsync/driver.go", ".", true},
		{"uidmap/dsync/driver.go", "uidmap", true},
		{"uidmap/dsync/driver.go", "imapx", false},
		{"uidmap/match.go", "checkpoint", false},
		{"checkpoint/bolt.go", "uidmap", true},
		{"checkpoint/bolt.go", "uidmap/dsync", false},
		{"sync/run.go", "checkpoint", true},
		{"sync/run.go", "uidmap", true},
		{"sync/run.go", "uidmap/dsync", false},
		{"sync/run.go", "imapx", false},
		{"sync/run.go", "pop3x", false},
		{"sync/run.go", "internal/oracle", false},
		{"examples/migrate/main.go", "imapx", true},
		{"examples/migrate/main.go", "uidmap/doveadm", true},
		{"examples/migrate/main.go", "internal/imapserver", false},
		{"examples/migrate/demo.go", "internal/imapserver", true},
		{"examples/other/demo.go", "internal/imapserver", false},
		{"internal/oracle/snapshot.go", "internal/testserver/wire", true},
		{"internal/oracle/snapshot.go", ".", true},
		{"internal/oracle/snapshot.go", "imapx", false},
		{"internal/oracle/snapshot.go", "internal/transport", false},
		{"internal/transport/config.go", ".", true},
		{"internal/transport/config.go", "internal/testserver", false},
		{"new/thing.go", ".", false},
	} {
		if why := allowed(tt.file, path.Dir(tt.file), tt.to); (why == "") != tt.ok {
			t.Errorf("%s imports %s: allowed is %v: %s", tt.file, tt.to, why == "", why)
		}
	}
	if !slices.IsSorted(forTests) {
		t.Error("forTests is not sorted")
	}
}
