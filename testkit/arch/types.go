package arch

import (
	"go/ast"
	"go/types"
	"strings"
)

// typed is what is known of types: exact for what the module itself declares, and
// nothing for what others do, whose packages are taken to be empty. That is enough
// to tell a map from a slice, and a package's variable from a local one.
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

	dir, ours := strings.CutPrefix(name, Module+"/")
	if !ours {
		return empty, nil
	}
	for _, p := range ts.tree.pkgs {
		if p.dir != dir || len(p.files) == 0 {
			continue
		}
		conf := types.Config{Importer: ts, Error: func(error) {}, FakeImportC: true}
		if checked, _ := conf.Check(name, ts.tree.fset, p.files, ts.info); checked != nil {
			ts.pkgs[name] = checked
			return checked, nil
		}
	}
	return empty, nil
}
