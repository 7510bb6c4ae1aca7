package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// stateless are the folders in which a package must have no state: many brokers
// live in one process, and share nothing.
var stateless = []string{"broker", "cli", "tui"}

// lockTypes are those that a package's variable would have for a reason that is
// against the rule. A sync.Pool or a sync.OnceValue is no state: nobody can tell
// that it is shared.
var lockTypes = map[string]bool{
	"sync.Mutex": true, "sync.RWMutex": true, "sync.Map": true, "sync.WaitGroup": true, "sync.Cond": true,
}

// checkState wants no variable of a package to be assigned, or made to change.
func (t *tree) checkState(ts *typed) {
	for _, p := range t.pkgs {
		top, _, _ := strings.Cut(p.dir, "/")
		if !contains(stateless, top) {
			continue
		}
		for _, f := range p.files {
			for _, decl := range f.Decls {
				switch d := decl.(type) {
				case *ast.GenDecl:
					t.checkVars(d)
				case *ast.FuncDecl:
					if d.Body != nil && (d.Recv != nil || d.Name.Name != "init") {
						t.checkAssignments(ts, d.Body)
					}
				}
			}
		}
	}
}

func (t *tree) checkVars(d *ast.GenDecl) {
	if d.Tok != token.VAR {
		return
	}
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		sel, ok := v.Type.(*ast.SelectorExpr)
		if !ok {
			if index, generic := v.Type.(*ast.IndexExpr); generic { // atomic.Pointer[T]
				sel, ok = index.X.(*ast.SelectorExpr)
			}
		}
		if !ok {
			continue
		}
		if x, ok := sel.X.(*ast.Ident); ok && (lockTypes[x.Name+"."+sel.Sel.Name] || x.Name == "atomic") {
			t.report(t.at(v), "state", "%s is state of a package; make it a field of a value", v.Names[0].Name)
		}
	}
}

func (t *tree) checkAssignments(ts *typed, body *ast.BlockStmt) {
	changed := func(e ast.Expr) {
		root := e
		for {
			switch x := root.(type) {
			case *ast.IndexExpr:
				root = x.X
				continue
			case *ast.ParenExpr:
				root = x.X
				continue
			case *ast.SelectorExpr:
				root = x.X
				continue
			case *ast.StarExpr:
				return // what a pointer points to is its owner's
			}
			break
		}
		id, ok := root.(*ast.Ident)
		if !ok {
			return
		}
		v, ok := ts.info.Uses[id].(*types.Var)
		if !ok || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
			return
		}
		if _, pointer := v.Type().Underlying().(*types.Pointer); pointer && root != e {
			return
		}
		t.report(t.at(e), "state", "%s, a package's variable, is changed; make it a field of a value", id.Name)
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				for _, l := range s.Lhs {
					changed(l)
				}
			}
		case *ast.IncDecStmt:
			changed(s.X)
		}
		return true
	})
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}
