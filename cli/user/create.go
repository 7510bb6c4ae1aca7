package user

import (
	"context"
	"crypto/rand"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

func newCreate(e *env.Env) *cobra.Command {
	var p put
	var ifAbsent bool
	cmd := &cobra.Command{
		Use:   "create USER",
		Short: "Create a user",
		Long: "Create a user.\n\nThe password is asked for on a terminal, read from standard input with --password-stdin, or made up with\n" +
			"--generate, which prints it. It never stands on the command line. What a user may do is said by rules: see rmq acl.",
		Example: "  rmq user create ann --password-stdin < secret.txt\n  rmq user create ci --generate --tag administrator",
		Args:    env.Exactly("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.spec.Name = args[0]
			c, err := e.Admin()
			if err != nil {
				return err
			}
			switch u, err := c.User(cmd.Context(), args[0]); {
			case err == nil && ifAbsent:
				return e.PrintMachine(view(u))
			case err == nil:
				f := env.Failf(env.Conflict, "user %s exists", args[0])
				f.Hint = "change it: rmq user alter " + env.Quote(args[0])
				return f
			case !env.Missing(err):
				return err
			}
			if p.change.DryRun {
				e.Say("would create user %s", env.Clean(args[0]))
				return e.PrintMachine(view(adminapi.User{Name: args[0], Tags: p.spec.Tags}))
			}
			if err := p.secret(e, true); err != nil {
				return err
			}
			return p.send(cmd.Context(), e, c)
		},
	}
	p.flags(e, cmd)
	cmd.Flags().BoolVar(&ifAbsent, "if-not-exists", false, "one that exists is no failure")
	return cmd
}

// put is what create and alter share.
type put struct {
	spec     adminapi.UserSpec
	stdin    bool
	generate bool
	change   env.Change
}

func (p *put) flags(e *env.Env, cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&p.generate, "generate", false, "make a password up and print it")
	cmd.Flags().StringArrayVar(&p.spec.Tags, "tag", nil, "tag: administrator may do everything, and use the API; repeatable")
	p.change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
}

// passwordMax bounds what is read from standard input.
const passwordMax = 1024

// secret gets the password: by flag, or, when it must be had, from the terminal.
func (p *put) secret(e *env.Env, must bool) error {
	var password string
	switch {
	case p.stdin && p.generate:
		return env.Failf(env.Usage, "--password-stdin and --generate are two passwords")
	case p.stdin:
		b, err := io.ReadAll(io.LimitReader(e.In, passwordMax))
		if err != nil {
			return err
		}
		password = strings.TrimRight(string(b), "\r\n")
	case p.generate:
		password = rand.Text()
	case !must:
		return nil
	default:
		first, err := e.ReadSecret("password: ")
		if err != nil {
			return err
		}
		again, err := e.ReadSecret("again: ")
		if err != nil {
			return err
		}
		if first != again {
			return env.Failf(env.Usage, "the two passwords differ")
		}
		password = first
	}
	if password == "" {
		return env.Failf(env.Usage, "the password is empty")
	}
	p.spec.Password = &password
	return nil
}

func (p *put) send(ctx context.Context, e *env.Env, c *adminapi.Client) error {
	u, err := c.PutUser(ctx, p.spec)
	if err != nil {
		return err
	}
	v := view(u)
	if !p.generate {
		return e.PrintMachine(v)
	}
	// A password that was made up is a result, the only time it can be had.
	v.Fields = append(v.Fields, env.Field{Name: "password", Value: *p.spec.Password})
	v.Data = struct {
		adminapi.User
		Password string `json:"password"`
	}{u, *p.spec.Password}
	return e.Print(v)
}
