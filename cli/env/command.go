package env

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/fault"
)

// Noun makes a command that only holds others: alone it shows its help, and with a
// word that it does not know it fails, which cobra would take for a request for help.
func Noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return Unknown(cmd, args[0])
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// Misnamed is the failure of a request for the help of a command that there is not, which cobra answers
// with the help of what it lies below; nil when cmd is what was asked about.
func Misnamed(cmd *cobra.Command) error {
	if help := cmd.Flags().Lookup("help"); !cmd.HasSubCommands() || help == nil || !help.Changed || cmd.Flags().NArg() == 0 {
		return nil
	}
	return Unknown(cmd, cmd.Flags().Arg(0))
}

// Unknown is the failure for a word that is no command of cmd.
func Unknown(cmd *cobra.Command, word string) error {
	f := Failf(Usage, "unknown command %q for %s", word, cmd.CommandPath())
	if near := subcommand(cmd, word); near != "" {
		f.Hint = "did you mean " + cmd.CommandPath() + " " + near + "?"
	} else {
		f.Hint = cmd.CommandPath() + " --help"
	}
	return f
}

// FlagError explains a flag that could not be read.
func FlagError(cmd *cobra.Command, err error) error {
	f := &Failure{Exit: Usage, What: oneLine(err), Hint: cmd.CommandPath() + " --help", Err: err}
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := missing.GetSpecifiedName()
		if s := missing.GetSpecifiedShortnames(); s != "" {
			f.What = "unknown flag -" + name
			return f
		}
		f.What = "unknown flag --" + name
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := Closest(name, names); near != "" {
			f.Hint = "did you mean --" + near + "?"
		} else if sub := subcommand(cmd, name); sub != "" { // as --version
			f.Hint = "did you mean " + cmd.CommandPath() + " " + sub + "?"
		}
		return f
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		f.What = "--" + bad.GetFlag().Name + ": " + badValue(bad.GetFlag(), bad.Unwrap())
	}
	return f
}

// subcommand is the one of cmd that a word most likely means; "" when none is near.
func subcommand(cmd *cobra.Command, word string) string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(append(names, sub.Name()), sub.Aliases...)
		}
	}
	return Closest(word, names)
}

// LastHint gives an error that has none the next thing to type, by what kind it is.
func LastHint(cmd *cobra.Command, err error) error {
	f := Explain(err)
	if f == nil || f.See != "" {
		return err
	}
	_, told := errors.AsType[*adminapi.Error](err)
	_, spoken := errors.AsType[*fault.Error](err)
	switch {
	case f.Exit == Usage:
		return WithHint(err, "%s --help", cmd.CommandPath())
	case f.Exit == NotFound && (told || spoken):
		for c := cmd; c.HasParent(); c = c.Parent() {
			if list, _, none := c.Parent().Find([]string{"list"}); none == nil && list != c.Parent() {
				return WithHint(err, "see what there is: %s", list.CommandPath())
			}
		}
		return WithHint(err, "see what there is: rmq topic list   rmq queue list   rmq exchange list")
	case f.Exit == Unreachable && (told || spoken):
		return WithHint(err, "check the address, and that a broker listens there; here, rmq up starts one")
	}
	return err
}

// badValue says why a flag does not take a value.
func badValue(f *pflag.Flag, err error) string {
	bad, ok := errors.AsType[*strconv.NumError](err)
	switch {
	case !ok:
		return oneLine(err)
	case f.Value.Type() == "bool":
		return strconv.Quote(bad.Num) + " is neither true nor false"
	case errors.Is(err, strconv.ErrRange):
		return bad.Num + " is out of range"
	case strings.HasPrefix(f.Value.Type(), "float"):
		return strconv.Quote(bad.Num) + " is not a number"
	case strings.HasPrefix(f.Value.Type(), "uint"):
		return strconv.Quote(bad.Num) + " is not a whole number from 0 up"
	}
	return strconv.Quote(bad.Num) + " is not a whole number"
}

// Exactly wants as many arguments as there are names, and says which one is missing.
func Exactly(names ...string) cobra.PositionalArgs { return Between(names) }

// Between wants the required arguments and takes as many optional ones.
func Between(required []string, optional ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		top := len(required) + len(optional)
		switch {
		case len(args) < len(required):
			return &Failure{Exit: Usage, What: cmd.CommandPath() + ": " + required[len(args)] + " is missing", Hint: example(cmd)}
		case len(args) > top:
			return &Failure{Exit: Usage, What: cmd.CommandPath() + ": what is " + Quote(args[top]) + "?", Hint: example(cmd)}
		}
		return nil
	}
}

// AtLeast wants as many arguments as there are names, or more of the last.
func AtLeast(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return Between(names)(cmd, args[:min(len(args), len(names))])
	}
}

// example is the first example of a command.
func example(cmd *cobra.Command) string {
	for line := range strings.Lines(cmd.Example) {
		if s := strings.TrimSpace(line); s != "" && !strings.HasPrefix(s, "#") {
			return s
		}
	}
	return cmd.CommandPath() + " --help"
}

// BrokerFlags adds the flags by which a command finds a broker.
func (e *Env) BrokerFlags(fs *pflag.FlagSet) {
	fs.StringVar(&e.Name, "name", DefaultName, "the broker on this machine, by the name it was started with")
	fs.StringVar(&e.URL, "url", "", "HTTP address of a broker anywhere (http://host:15672); over --name")
	fs.StringVar(&e.User, "user", "", "user for --url; the password is taken from RMQ_PASSWORD or --password-file")
	e.PasswordFlag(fs)
	fs.StringVar(&e.apiCA, "url-cacert", "", "file with the certificates to trust, for --url over https")
	_ = fs.SetAnnotation("url-cacert", PathAnnotation, []string{"true"}) // fails for unknown flags only
}

// PasswordFlag adds --password-file, where Password may come from.
func (e *Env) PasswordFlag(fs *pflag.FlagSet) {
	fs.StringVar(&e.passwordFile, "password-file", "", "file with the password, if RMQ_PASSWORD has none")
	_ = fs.SetAnnotation("password-file", PathAnnotation, []string{"true"}) // fails for unknown flags only
}
