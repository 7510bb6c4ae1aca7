package meta

import (
	"slices"
	"testing"

	"github.com/robustmq/rmq/broker/acl"
	"github.com/robustmq/rmq/broker/fault"
)

func TestRules(t *testing.T) {
	s := new(State)
	apply := func(op Op, want int64, rules ...acl.Rule) {
		t.Helper()
		if r := s.Apply(&Command{Op: op, Rules: rules}); r.Err != nil || r.Number != want {
			t.Errorf("%v: %d changed, want %d; %v", op, r.Number, want, r.Err)
		}
	}
	list := func() (out []string) {
		for r := range s.AllRules() {
			out = append(out, r.String())
		}
		return out
	}
	ann := acl.Rule{User: "ann", Name: "a", Actions: acl.Read}
	apply(PutRules, 1, ann)
	apply(PutRules, 0, ann)
	ann.Actions, ann.Namespace = acl.Write|acl.Create, "/"
	apply(PutRules, 1, ann)
	ann.Deny = true
	apply(PutRules, 1, ann)
	if got := list(); len(got) != 2 || !slices.ContainsFunc(got, func(r string) bool { return r == "allow user ann to read,write,create a" }) {
		t.Errorf("rules: %q", got)
	}
	ann.Deny, ann.Actions = false, acl.Write|acl.Delete
	apply(DeleteRules, 1, ann)
	apply(DeleteRules, 0, ann)

	// A checkpoint has them all.
	again := new(State)
	if err := again.Restore(s.Encode(nil)); err != nil {
		t.Fatal(err)
	}
	s = again
	if got := list(); len(got) != 2 || !slices.ContainsFunc(got, func(r string) bool { return r == "allow user ann to read,create a" }) {
		t.Errorf("restored: %q", got)
	}
	ann.Actions = acl.All
	apply(DeleteRules, 1, ann)
	ann.Deny = true
	apply(DeleteRules, 1, ann)
	if got := list(); got != nil {
		t.Errorf("left: %q", got)
	}
	if r := s.Apply(&Command{Op: PutRules, Rules: []acl.Rule{{Name: "ok", Actions: acl.Read}, {Name: "a+b", Actions: acl.Read}}}); !fault.Is(r.Err, fault.Invalid) || list() != nil {
		t.Errorf("a wrong one among them: %v, %q", r.Err, list())
	}
	var many []acl.Rule
	for i := range acl.RulesMax + 1 {
		many = append(many, acl.Rule{Name: string(rune('a'+i%26)) + string(rune('0'+i/26)), Actions: acl.Read})
	}
	if r := s.Apply(&Command{Op: PutRules, Rules: many}); !fault.Is(r.Err, fault.Exhausted) || list() != nil {
		t.Errorf("too many: %v, %d there", r.Err, len(list()))
	}
}
