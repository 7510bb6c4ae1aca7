package setting

import (
	"fmt"
	"regexp"
	"strings"
)

// KindRewrite: a Rewrite. They are asked in the order of their names, and the first whose filter
// matches decides, also when its expression then does not.
const KindRewrite Kind = "rewrite"

// RewritesMax bounds the rules of one namespace: every topic is held against them.
const RewritesMax = 256

// Rewrite puts another topic in place of one that a client of MQTT names.
type Rewrite struct {
	On     Use    `json:"on"`
	Filter string `json:"filter"` // of topics, and of filters as if they were topics
	Regex  string `json:"regex"`  // of what is to be replaced: all of it; RE2
	// To is the new topic. $1 to $9 stand for the groups of Regex, %c and ${clientid} for the
	// client identifier, %u and ${username} for the user.
	To string `json:"to"`
}

// Use says where a client names a topic.
type Use string

const (
	OnPublish   Use = "publish"   // in PUBLISH, and for its will
	OnSubscribe Use = "subscribe" // in SUBSCRIBE and UNSUBSCRIBE
	OnAll       Use = "all"
)

func (s *Setting) checkRewrite() error {
	var r Rewrite
	if err := s.Read(&r); err != nil {
		return err
	}
	_, err := r.Compile()
	return err
}

// Rewriter is a Rewrite that is ready for use.
type Rewriter struct {
	Rewrite
	regex *regexp.Regexp
}

// Compile makes a rule ready, or tells what is wrong with it.
func (r Rewrite) Compile() (*Rewriter, error) {
	if r.On != OnPublish && r.On != OnSubscribe && r.On != OnAll {
		return nil, fmt.Errorf("%q is none of publish, subscribe, all", r.On)
	}
	if err := checkFilter(r.Filter); err != nil {
		return nil, err
	}
	regex, err := regexp.Compile(r.Regex)
	if err != nil {
		return nil, err
	}
	if r.To == "" {
		return nil, fmt.Errorf("nothing is said to rewrite to")
	}
	for i := range len(r.To) - 1 {
		if n := int(r.To[i+1]) - '0'; r.To[i] == '$' && 0 <= n && n <= 9 && n > regex.NumSubexp() {
			return nil, fmt.Errorf("$%d stands for nothing: %q has %d groups", n, r.Regex, regex.NumSubexp())
		}
	}
	return &Rewriter{Rewrite: r, regex: regex}, nil
}

// For tells whether the rule is about a use.
func (r *Rewriter) For(u Use) bool { return r.On == OnAll || r.On == u }

// Apply returns what a topic becomes that the filter matches: itself, when the expression does not
// match. ok false: it becomes nothing, because the client's name is none, or more than a level.
func (r *Rewriter) Apply(topic, client, user string) (out string, ok bool) {
	groups := r.regex.FindStringSubmatch(topic)
	if groups == nil {
		return topic, true
	}
	return expand(r.To, groups, client, user)
}

// expand fills in a template.
func expand(to string, groups []string, client, user string) (string, bool) {
	var b strings.Builder
	for to != "" {
		name, width := "", 0
		switch {
		case len(to) > 1 && to[0] == '$' && '0' <= to[1] && to[1] <= '9' && int(to[1]-'0') < len(groups):
			b.WriteString(groups[to[1]-'0'])
			to = to[2:]
			continue
		case strings.HasPrefix(to, "%c"):
			name, width = client, 2
		case strings.HasPrefix(to, "%u"):
			name, width = user, 2
		case strings.HasPrefix(to, "${clientid}"):
			name, width = client, len("${clientid}")
		case strings.HasPrefix(to, "${username}"):
			name, width = user, len("${username}")
		default:
			b.WriteByte(to[0])
			to = to[1:]
			continue
		}
		if name == "" || strings.ContainsAny(name, "/+#\x00") {
			return "", false
		}
		b.WriteString(name)
		to = to[width:]
	}
	return b.String(), true
}
