package tui

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/robustmq/rmq/tui/kind"
)

// forExport is who asked when something was exported.
type forExport struct{}

// export writes what is shown to a file that there is not yet: JSON lines, or, by its name, CSV.
func (m *Model) export(file string) (tea.Cmd, error) {
	s, ok := m.screen().(exporter)
	if !ok {
		return nil, fmt.Errorf("the screen %s has nothing to export", places[m.at].name)
	}
	if file == "" {
		return nil, fmt.Errorf("export to which file?")
	}
	var b bytes.Buffer
	n := 0
	if strings.HasSuffix(file, ".csv") {
		rows := s.table(m.look())
		n = len(rows) - 1
		w := csv.NewWriter(&b)
		if err := w.WriteAll(rows); err != nil {
			return nil, err
		}
	} else {
		enc := json.NewEncoder(&b)
		for _, item := range s.exported() {
			if err := enc.Encode(item); err != nil {
				return nil, err
			}
			n++
		}
	}
	what := places[m.at].name
	return m.feed.Do(forExport{}, func(context.Context) (any, error) {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("there is a file %s already", file)
		}
		if err != nil {
			return nil, err
		}
		_, err = f.Write(b.Bytes())
		if e := f.Close(); err == nil {
			err = e
		}
		return fmt.Sprintf("wrote %d %s to %s, %s", n, what, file, kind.Bytes(int64(b.Len()))), err
	}), nil
}
