package adminapi_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/robustmq/rmq/broker/adminapi"
)

// changing is what the calls that change something begin with; all others only ask.
var changing = []string{
	"Create", "Alter", "Delete", "Purge", "Bind", "Unbind", "Drain", "Fill", "Remove", "Put", "Add", "Pause", "Change", "Shutdown",
	"FreezeClock", "MoveClock", "RunPlan", "Clear", "Replay", "Load", "Reset",
}

// Every call of a Source is known, by what goes over the wire, for one that only asks or one that does not.
func TestAsks(t *testing.T) {
	var method, path string
	c, err := adminapi.NewClient("http://broker.test", &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		method, path = r.Method, r.URL.EscapedPath()
		return nil, errors.New("not sent")
	})})
	if err != nil {
		t.Fatal(err)
	}
	source := reflect.TypeFor[adminapi.Source]()
	for i := range source.NumMethod() {
		name := source.Method(i).Name
		call := reflect.ValueOf(c).MethodByName(name)
		in := []reflect.Value{reflect.ValueOf(context.Background())}
		for j := 1; j < call.Type().NumIn(); j++ {
			in = append(in, reflect.Zero(call.Type().In(j)))
		}
		method, path = "", ""
		call.Call(in)
		if method == "" {
			t.Errorf("%s sends nothing", name)
			continue
		}
		changes := name != "Bindings" && name != "Changes"
		if changes {
			changes = false
			for _, verb := range changing {
				changes = changes || strings.HasPrefix(name, verb)
			}
		}
		if adminapi.Asks(method, path) == changes {
			t.Errorf("%s (%s %s): only asks: %v", name, method, path, !changes)
		}
	}
	if adminapi.Asks("POST", "/v1/queues/x%2Fv1%2Fexplain/purge") || adminapi.Asks("POST", "/v1/acl") {
		t.Error("what changes something is taken for a question")
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
