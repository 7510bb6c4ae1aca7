package env

import (
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
)

// Who asks one node over TLS asks none in the clear: all get his password.
func TestEveryNodeOverTLS(t *testing.T) {
	nodes := []adminapi.Node{
		{ID: 1, Up: true, Self: true, URLs: adminapi.URLs{HTTP: "http://10.0.0.1:15672", HTTPS: "https://10.0.0.1:15671"}},
		{ID: 2, Up: true, URLs: adminapi.URLs{HTTP: "http://10.0.0.2:15672", HTTPS: "https://10.0.0.2:15671"}},
		{ID: 3, Up: true, URLs: adminapi.URLs{HTTP: "http://10.0.0.3:15672"}},
		{ID: 4, Up: true, URLs: adminapi.URLs{HTTPS: "https://10.0.0.4:15671"}},
		{ID: 5, Up: true},
		{ID: 6, URLs: adminapi.URLs{HTTP: "http://10.0.0.6:15672", HTTPS: "https://10.0.0.6:15671"}},
	}
	for _, tt := range []struct{ url, asked, warned string }{
		{
			"https://10.0.0.1:15671", "https://10.0.0.1:15671 https://10.0.0.2:15671 https://10.0.0.4:15671",
			"node 3 serves no HTTP over TLS, node 5 serves no HTTP over TLS, node 6 is down,",
		},
		{
			"HTTPS://10.0.0.1:15671", "https://10.0.0.1:15671 https://10.0.0.2:15671 https://10.0.0.4:15671",
			"node 3 serves no HTTP over TLS, node 5 serves no HTTP over TLS, node 6 is down,",
		},
		{
			"http://10.0.0.1:15672", "http://10.0.0.1:15672 http://10.0.0.2:15672 http://10.0.0.3:15672 https://10.0.0.4:15671",
			"node 5 serves no HTTP, node 6 is down,",
		},
	} {
		e := &Env{URL: tt.url, User: "ann", Getenv: func(string) string { return "swordfish" }}
		c, err := e.Admin()
		if err != nil {
			t.Fatal(err)
		}
		all, warnings, err := e.everyNode(c, nodes)
		if err != nil {
			t.Fatal(err)
		}
		var asked, warned []string
		for _, n := range all {
			asked = append(asked, n.Base())
		}
		for _, w := range warnings {
			warned = append(warned, strings.TrimSuffix(w, " and was not asked"))
		}
		if got := strings.Join(asked, " "); got != tt.asked {
			t.Errorf("%s: asked are %s, want %s", tt.url, got, tt.asked)
		}
		if got := strings.Join(warned, " "); got != tt.warned {
			t.Errorf("%s: warned of %s, want %s", tt.url, got, tt.warned)
		}
	}
}
