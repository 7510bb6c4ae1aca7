package testkit

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/robustmq/rmq/broker/adminapi"
	"github.com/robustmq/rmq/broker/chaos"
	"github.com/robustmq/rmq/broker/storage/snapshot"
)

// bundleMax bounds how long writing a bundle may take.
const bundleMax = 30 * time.Second

// bundleDirEnv names the directory that bundles of failed tests go to, or, by "off", none.
const bundleDirEnv = "TESTKIT_BUNDLE_DIR"

// bundle writes all that the broker of a failed test holds, with the story of it, to a file
// (docs/format/snapshot.md), and returns its path; "": none is wanted.
//
// It goes to the directory that TESTKIT_BUNDLE_DIR names, else to that of the test's artifacts if go test
// -artifacts keeps them, else to rmq-testkit below the one for temporary files.
func (b *Broker) bundle() (path string, err error) {
	dir := os.Getenv(bundleDirEnv)
	if dir == "off" {
		return "", nil
	}
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "rmq-testkit")
		kept := flag.Lookup("test.artifacts")
		if t, ok := b.t.(interface{ ArtifactDir() string }); ok && kept != nil && kept.Value.String() == "true" {
			dir = t.ArtifactDir()
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, fileName(b.t.Name())+"-*.rmq")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bundleMax)
	defer cancel()
	var timeline strings.Builder
	b.events.tell(&timeline)
	plan := b.plan()
	notes := []snapshot.Note{
		{Name: adminapi.NoteTest, Content: []byte(b.t.Name() + "\n")},
		{Name: adminapi.NoteTimeline, Content: []byte(timeline.String())},
		{Name: adminapi.NoteEvents, Content: b.events.lines()},
		{Name: adminapi.NoteLog, Content: []byte(b.events.of("log"))},
		{Name: adminapi.NoteState, Content: []byte(b.story())},
		{Name: adminapi.NoteSeed, Content: fmt.Appendln(nil, plan.Seed)},
	}
	if len(plan.Rules) > 0 {
		text, err := yaml.Marshal(plan)
		if err != nil {
			return "", err
		}
		notes = append(notes, snapshot.Note{Name: adminapi.NoteFaults, Content: text})
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = b.broker.Snapshot(ctx, w, notes...)
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// plan is what was planned to go wrong, with what the test has added to it.
func (b *Broker) plan() (p chaos.Plan) {
	seed, all := b.broker.Chaos().List()
	p.Seed = seed
	for i := range all {
		p.Rules = append(p.Rules, all[i].Rule)
	}
	return p
}

// fileName makes a test's name one of a file.
func fileName(test string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, test)
}

// keep tells where the bundle of a failed test is, and how to open it.
func (b *Broker) keep() {
	if b.cfg.broker.Cluster != nil {
		return // of a cluster no node alone has one moment
	}
	switch path, err := b.bundle(); {
	case err != nil:
		b.t.Logf("testkit: the broker was not kept: %v", err)
	case path != "":
		b.t.Logf("testkit: the broker as it was is kept: rmq tui --replay %s", path)
		if plan := b.plan(); len(plan.Rules) > 0 {
			b.t.Logf("testkit: so are its planned faults (%d), of seed %d: rmq snapshot show %s --note %s", len(plan.Rules), plan.Seed, path, adminapi.NoteFaults)
		}
	}
}
