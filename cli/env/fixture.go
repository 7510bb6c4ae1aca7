package env

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/fixtures"
)

// FixtureFlags are those of everything that makes messages of a fixture.
type FixtureFlags struct {
	Set  []string
	Seed string
}

// Add adds them.
func (x *FixtureFlags) Add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&x.Set, "set", nil, "change a parameter of the fixture, as name=value; repeatable")
	fs.StringVar(&x.Seed, "seed", "", "another seed than the fixture's own")
}

// Open reads a fixture with what the flags change.
func (x *FixtureFlags) Open(name string) (*fixtures.Fixture, error) {
	return OpenFixture(name, x.Set, x.Seed)
}

// OpenFixture reads a fixture: set changes parameters, seed its seed, unless it is "".
func OpenFixture(name string, set []string, seed string) (*fixtures.Fixture, error) {
	params := map[string]string{}
	for _, s := range set {
		name, value, err := Pair(s)
		if err != nil {
			return nil, Failf(Usage, "--set: %v", err)
		}
		params[name] = value
	}
	f, err := fixtures.Open(name, params)
	if err != nil {
		return nil, explainFixture(err)
	}
	if seed != "" {
		n, err := strconv.ParseUint(seed, 0, 64)
		if err != nil {
			return nil, Failf(Usage, "--seed %q is not a number", seed)
		}
		f.Seed = n
	}
	return f, nil
}

// explainFixture gives a mistake in a fixture its exit code and the next thing to type.
func explainFixture(err error) error {
	if bad, ok := errors.AsType[*fixtures.Error](err); ok {
		return &Failure{Exit: Usage, What: bad.Error(), Hint: bad.Hint, Err: err}
	}
	if none, ok := errors.AsType[*fixtures.UnknownError](err); ok {
		f := &Failure{Exit: NotFound, What: none.Error(), Hint: "see what there is: rmq fixture list   or name a file: ./" + none.Name + ".yaml", Err: err}
		if none.Near != "" {
			f.Hint = "did you mean " + none.Near + "?"
		}
		return f
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &Failure{Exit: NotFound, What: err.Error(), Hint: "built-in ones are told by rmq fixture list", Err: err}
	}
	return err
}

// CompleteFixture completes the name of a fixture.
func CompleteFixture(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if len(args) == 0 {
		for _, n := range fixtures.Builtin() {
			if strings.HasPrefix(n, typed) {
				out = append(out, n)
			}
		}
	}
	return out, cobra.ShellCompDirectiveDefault // files too
}
