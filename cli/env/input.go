package env

import (
	"io"
	"os"
)

// Input opens the file that an argument names; - is standard input, which stays open. One that cannot
// be opened is a failure with NotFound.
func (e *Env) Input(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(e.In), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, Failf(NotFound, "%v", err)
	}
	return f, nil
}
