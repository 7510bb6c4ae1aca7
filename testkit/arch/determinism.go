package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"strconv"
)

// machines are the folders whose code runs at apply, on every replica and again
// after every restart: the same entries must give the same bytes. (Package route is
// not one: its tables hash by chance, against clients who would choose what
// collides, and a machine uses only what does not depend on it.)
var machines = []string{
	"broker/kernel/codec", "broker/kernel/stream", "broker/kernel/queue", "broker/kernel/session",
	"broker/kernel/group", "broker/kernel/retained", "broker/kernel/txn", "broker/kernel/shard", "broker/kernel/meta",
}

// chance are packages whose answers differ from run to run, or from node to node.
var chance = map[string]string{
	"math/rand": "chance", "math/rand/v2": "chance", "crypto/rand": "chance", "hash/maphash": "a hash seeded by the process",
	"os": "the machine it runs on", "net": "the network", "runtime": "the process it runs in",
}

// clockCalls are the functions of package time that look at a clock.
var clockCalls = map[string]bool{
	"Now": true, "Since": true, "Until": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true, "Sleep": true,
}

// checkDeterminism wants machines to depend on nothing but their entries.
func (t *tree) checkDeterminism(ts *typed) {
	for _, p := range t.pkgs {
		if !contains(machines, p.dir) {
			continue
		}
		p.imports(func(spec *ast.ImportSpec, name string) {
			if why, bad := chance[name]; bad {
				t.report(t.at(spec), "determinism", "a machine imports %s: %s", name, why)
			}
		})
		for _, f := range p.files {
			t.checkMachine(ts, f)
		}
	}
}

func (t *tree) checkMachine(ts *typed, f *ast.File) {
	names := importNames(f)
	sorted := make(map[ast.Expr]bool) // sequences that slices.Sorted puts in order
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.report(t.at(n), "determinism", "a machine starts a goroutine")
		case *ast.SelectStmt:
			t.report(t.at(n), "determinism", "a machine selects")
		case *ast.SendStmt:
			t.report(t.at(n), "determinism", "a machine uses a channel")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				t.report(t.at(n), "determinism", "a machine uses a channel")
			}
		case *ast.RangeStmt:
			if isMap(ts.info.TypeOf(n.X)) {
				t.report(t.at(n), "determinism", "a machine ranges over a map, whose order is chance")
			}
		case *ast.CallExpr:
			pkg, name := called(names, n)
			switch {
			case pkg == "slices" && (name == "Sorted" || name == "SortedFunc" || name == "SortedStableFunc") && len(n.Args) > 0:
				sorted[n.Args[0]] = true
			case pkg == "maps" && (name == "Keys" || name == "Values" || name == "All") && !sorted[n]:
				t.report(t.at(n), "determinism", "a machine walks a map, whose order is chance; slices.Sorted gives it one")
			case pkg == "time" && clockCalls[name]:
				t.report(t.at(n), "determinism", "a machine looks at the clock: time comes from entries")
			}
		case *ast.Ident:
			if obj, ok := ts.info.Uses[n].(*types.TypeName); ok && obj.Pkg() == nil && isFloat(obj.Type()) {
				t.report(t.at(n), "determinism", "a machine calculates with %s, which rounds as the processor likes", n.Name)
			}
		case *ast.BasicLit:
			if n.Kind == token.FLOAT && isFloat(ts.info.TypeOf(n)) {
				t.report(t.at(n), "determinism", "a machine calculates with floating point")
			}
		}
		return true
	})
}

// importNames maps what a file calls a package to its path.
func importNames(f *ast.File) map[string]string {
	names := make(map[string]string)
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := p
		for i := len(p) - 1; i >= 0; i-- {
			if p[i] == '/' {
				name = p[i+1:]
				break
			}
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

// called returns the package and the function of a call like pkg.F(…).
func called(names map[string]string, c *ast.CallExpr) (pkg, name string) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return names[x.Name], sel.Sel.Name
}

func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	if p, ok := t.(*types.TypeParam); ok {
		t = p.Constraint()
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

func isFloat(t types.Type) bool {
	if t == nil {
		return false
	}
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsFloat|types.IsComplex) != 0
}
