package user

import (
	"bufio"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/cli/env"
)

// importMax bounds a password file, in bytes.
const importMax = 64 << 20

func newImport(e *env.Env) *cobra.Command {
	var change env.Change
	var tags []string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Create the users of a Mosquitto password file",
		Long: "Create the users of a Mosquitto password file: NAME:HASH, a line each, with hashes of mosquitto_passwd ($7$ and $6$),\n" +
			"bcrypt or argon2id. FILE may be - for standard input. Passwords stay what they are; a user that exists gets the file's.\n" +
			"Such a user cannot log in by SCRAM, which wants more than a hash, until its password is set anew.",
		Example: "  rmq user import /etc/mosquitto/passwd\n  rmq user import passwd.txt --dry-run",
		Args:    env.Exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := e.Input(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			var specs []adminapi.UserSpec
			lines := bufio.NewScanner(io.LimitReader(in, importMax))
			for no := 1; lines.Scan(); no++ {
				line := strings.TrimRight(lines.Text(), "\r")
				if strings.TrimSpace(line) == "" || line[0] == '#' {
					continue
				}
				name, hash, ok := strings.Cut(line, ":")
				if !ok {
					return env.Failf(env.Usage, "%s: line %d is not NAME:HASH", args[0], no)
				}
				specs = append(specs, adminapi.UserSpec{Name: name, Hash: hash, Tags: tags})
			}
			if err := lines.Err(); err != nil {
				return env.Failf(env.Usage, "%s: %v", args[0], err)
			}
			c, err := e.Admin()
			if err != nil {
				return err
			}
			if change.DryRun {
				e.Say("would create or change %d users", len(specs))
				return nil
			}
			for i, s := range specs {
				if _, err := c.PutUser(cmd.Context(), s); err != nil {
					if f := env.Explain(err); i > 0 {
						partly := *f
						partly.Exit = env.Partly
						partly.What = env.Clean(s.Name) + ": " + f.What
						e.Say("%d of %d users imported", i, len(specs))
						return &partly
					}
					return err
				}
			}
			e.Say("%d users imported", len(specs))
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag of each: administrator may do everything, and use the API; repeatable")
	change.Flags(cmd.Flags(), false)
	e.BrokerFlags(cmd.Flags())
	return cmd
}
