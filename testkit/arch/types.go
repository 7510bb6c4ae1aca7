package arch

import (
	"go/ast"
	"go/parser"
	"go/types"
	"strings"
)

// typed is what is known of types: exact for what the module itself declares, and
// nothing for what others do, whose packages are taken to be empty but for the
// declarations in others. That is enough to tell a map from a slice, and a
// package's variable from a local one.
type typed struct {
	tree *tree
	pkgs map[string]*types.Package // by import path
	info *types.Info
}

func (t *tree) typed() *typed {
	ts := &typed{tree: t, pkgs: make(map[string]*types.Package), info: &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Uses:  make(map[*ast.Ident]types.Object),
		Defs:  make(map[*ast.Ident]types.Object),
	}}
	for _, p := range t.pkgs {
		_, _ = ts.Import(Module + "/" + p.dir)
	}
	return ts
}

// Import implements types.Importer.
func (ts *typed) Import(name string) (*types.Package, error) {
	if p := ts.pkgs[name]; p != nil {
		return p, nil
	}
	if name == "unsafe" {
		return types.Unsafe, nil
	}
	base := name[strings.LastIndex(name, "/")+1:]
	empty := types.NewPackage(name, base)
	empty.MarkComplete()
	ts.pkgs[name] = empty // also what an import cycle finds

	var files []*ast.File
	if dir, ours := strings.CutPrefix(name, Module+"/"); ours {
		for _, p := range ts.tree.pkgs {
			if p.dir == dir {
				files = p.files
			}
		}
	} else if src := others[name]; src != "" {
		f, err := parser.ParseFile(ts.tree.fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = []*ast.File{f}
	}
	if len(files) == 0 {
		return empty, nil
	}
	conf := types.Config{Importer: ts, Error: func(error) {}, FakeImportC: true}
	if checked, _ := conf.Check(name, ts.tree.fset, files, ts.info); checked != nil {
		ts.pkgs[name] = checked
	}
	return ts.pkgs[name], nil
}

// others declares what must be known of the modules of others: what hands back
// values of types that its caller chose.
var others = map[string]string{
	"github.com/tidwall/btree": `package btree
		type Map[K, V any] struct{}
		func (*Map[K, V]) Get(K) (v V, ok bool)                   { return }
		func (*Map[K, V]) GetMut(K) (v V, ok bool)                { return }
		func (*Map[K, V]) GetAt(int) (k K, v V, ok bool)          { return }
		func (*Map[K, V]) Set(K, V) (v V, ok bool)                { return }
		func (*Map[K, V]) Delete(K) (v V, ok bool)                { return }
		func (*Map[K, V]) Min() (k K, v V, ok bool)               { return }
		func (*Map[K, V]) Max() (k K, v V, ok bool)               { return }
		func (*Map[K, V]) PopMin() (k K, v V, ok bool)            { return }
		func (*Map[K, V]) PopMax() (k K, v V, ok bool)            { return }
		func (*Map[K, V]) Scan(func(K, V) bool)                   {}
		func (*Map[K, V]) Ascend(K, func(K, V) bool)              {}
		func (*Map[K, V]) Descend(K, func(K, V) bool)             {}
		func (*Map[K, V]) Reverse(func(K, V) bool)                {}
		func (m *Map[K, V]) Copy() *Map[K, V]                     { return m }
		func (*Map[K, V]) Len() int                               { return 0 }
		func (*Map[K, V]) Keys() []K                              { return nil }
		func (*Map[K, V]) Values() []V                            { return nil }`,
	"maps": `package maps
		func Clone[M ~map[K]V, K comparable, V any](m M) M { return m }`,
}
