// Package arch checks that the source keeps to its architecture.
//
// Check reads a tree of Go files and returns what is wrong with it:
//
//   - a folder that has no place in the order of packages, or that imports one
//     which does not come before it (layers.go);
//   - a third-party module used outside its home (layers.go);
//   - a package without a comment that says what it is for;
//   - mutable state of a package instead of a value (state.go);
//   - a machine that might not do the same twice (determinism.go).
//
// It parses in process. A test that asked the go command instead would be cached
// as passing, because what the command reads is not an input of the test.
//
// The rules bind files that are built into programs, not their tests.
package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the path that the rules speak of.
const Module = "github.com/robustmq/rmq"

// Violation is one breach of one rule.
type Violation struct {
	Pos  string // file:line, or the folder
	Rule string // in a word
	Text string
}

func (v Violation) String() string { return v.Pos + ": " + v.Rule + ": " + v.Text }

// pkg is one folder of Go files.
type pkg struct {
	dir   string // "broker/kernel"
	files []*ast.File
	tests bool // it has tests
}

// tree is a parsed source tree.
type tree struct {
	fset  *token.FileSet
	pkgs  []*pkg // by dir
	found []Violation
}

// Check returns the violations of a source tree, ordered by place. The error is
// that of reading or parsing it.
func Check(fsys fs.FS) ([]Violation, error) {
	t := &tree{fset: token.NewFileSet()}
	if err := t.parse(fsys); err != nil {
		return nil, err
	}
	t.checkLayers()
	t.checkHomes()
	t.checkDocs()
	types := t.typed()
	t.checkState(types)
	t.checkDeterminism(types)
	slices.SortStableFunc(t.found, func(a, b Violation) int { return cmp.Compare(a.Pos, b.Pos) })
	return t.found, nil
}

// parse reads every Go file that belongs to the module.
func (t *tree) parse(fsys fs.FS) error {
	byDir := make(map[string]*pkg)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); name != "." && err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		dir := path.Dir(name)
		p := byDir[dir]
		if p == nil {
			p = &pkg{dir: dir}
			byDir[dir] = p
			t.pkgs = append(t.pkgs, p)
		}
		if strings.HasSuffix(base, "_test.go") {
			p.tests = true
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p.files = append(p.files, f)
		return nil
	})
	slices.SortFunc(t.pkgs, func(a, b *pkg) int { return cmp.Compare(a.dir, b.dir) })
	return err
}

func (t *tree) report(pos, rule, format string, args ...any) {
	t.found = append(t.found, Violation{pos, rule, fmt.Sprintf(format, args...)})
}

func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// checkDocs wants every package to say what it is for.
func (t *tree) checkDocs() {
	for _, p := range t.pkgs {
		if len(p.files) == 0 || slices.ContainsFunc(p.files, func(f *ast.File) bool { return f.Doc != nil && len(f.Doc.Text()) > 0 }) {
			continue
		}
		t.report(p.dir, "doc", "no comment says what package %s is for", p.files[0].Name.Name)
	}
}
