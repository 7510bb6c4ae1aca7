package setting

import "testing"

func TestRewrite(t *testing.T) {
	tests := []struct {
		regex, to, topic string
		want             string // "": nothing
	}{
		{`^x/y/(.+)$`, `z/y/x/$1`, "x/y/2", "z/y/x/2"},
		{`^x/y/(\d+)$`, `z/$1`, "x/y/z", "x/y/z"}, // the expression does not match
		{`^x/(.+)/(.+)$`, `$2/$1/%c/${clientid}`, "x/a/b", "b/a/dev1/dev1"},
		{`^x/(.*)$`, `%u/$1`, "x/a", ""},                  // no user
		{`^x/(.*)$`, `$share/$1$0`, "x/+", "$share/+x/+"}, // a $ that is no group's, and the whole
		{`x`, `100%/$`, "x", "100%/$"},
	}
	for _, tt := range tests {
		r, err := Rewrite{On: OnAll, Filter: "#", Regex: tt.regex, To: tt.to}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		got, ok := r.Apply(tt.topic, "dev1", "")
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s to %s: %s becomes %q, %v", tt.regex, tt.to, tt.topic, got, ok)
		}
	}
	r, _ := Rewrite{On: OnAll, Filter: "#", Regex: "x", To: "%c/x"}.Compile()
	for _, client := range []string{"a/b", "+", "#", "a#"} { // one level, and no wildcard
		if got, ok := r.Apply("x", client, ""); ok {
			t.Errorf("client %s makes it %s", client, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, s := range []Setting{
		{Namespace: "/", Kind: KindRewrite, Name: "r", Value: []byte(`{"on":"all","filter":"a/#/b","regex":"a","to":"b"}`)},
		{Namespace: "/", Kind: KindRewrite, Name: "r", Value: []byte(`{"on":"now","filter":"a/#","regex":"a","to":"b"}`)},
		{Namespace: "/", Kind: KindRewrite, Name: "r", Value: []byte(`{"on":"all","filter":"a/#","regex":"(","to":"b"}`)},
		{Namespace: "/", Kind: KindRewrite, Name: "r", Value: []byte(`{"on":"all","filter":"a/#","regex":"(a)","to":"$2"}`)},
		{Namespace: "/", Kind: KindRewrite, Name: "r", Value: []byte(`{"on":"all","filter":"a/#","regex":"a","to":""}`)},
		{Namespace: "/", Kind: KindSubscription, Name: "s", Value: []byte(`{"filter":"a/#/b","qos":0}`)},
		{Namespace: "/", Kind: KindSubscription, Name: "s", Value: []byte(`{"filter":"a/%c","qos":3}`)},
	} {
		if s.Check() == nil {
			t.Errorf("%s is taken", s.Value)
		}
	}
}
