package env

import (
	"os"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func terminalWidth(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 {
		return 80
	}
	return w
}

// ReadSecret asks for a secret on the terminal, without echo.
func (e *Env) ReadSecret(prompt string) (string, error) {
	f, ok := e.In.(*os.File)
	if !ok || !e.InTTY {
		return "", &Failure{Exit: Usage, What: "there is no terminal to ask for a password", Hint: "give it on standard input with --password-stdin"}
	}
	_, _ = e.Err.Write([]byte(prompt))
	b, err := term.ReadPassword(int(f.Fd()))
	_, _ = e.Err.Write([]byte("\n"))
	return string(b), err
}
