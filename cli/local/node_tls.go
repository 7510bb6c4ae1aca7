package local

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/robustmq/rmq/cli/env"
)

// nodeTLS are the files by which the nodes of a cluster speak TLS with each other: each shows a
// certificate, and takes those that the authority has signed.
type nodeTLS struct{ cert, key, ca string }

// args are the flags that say the same to a node's process.
func (n *nodeTLS) args() []string {
	if n.cert == "" {
		return nil
	}
	return []string{"--node-cert", n.cert, "--node-key", n.key, "--node-ca", n.ca}
}

// config reads the files; nil: there are none. The files are absolute from then on.
func (n *nodeTLS) config(dir string) (*tls.Config, error) {
	given := 0
	for _, path := range []*string{&n.cert, &n.key, &n.ca} {
		if *path == "" {
			continue
		}
		given++
		if !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	switch given {
	case 0:
		return nil, nil
	case 1, 2:
		return nil, &env.Failure{
			Exit: env.Usage, What: "TLS between nodes needs --node-cert, --node-key and --node-ca",
			Hint: "each node shows a certificate, and takes those that the authority in --node-ca has signed",
		}
	}
	pair, err := tls.LoadX509KeyPair(n.cert, n.key)
	if err != nil {
		return nil, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--node-cert and --node-key: %v", err), Err: err}
	}
	pem, err := os.ReadFile(n.ca)
	if err != nil {
		return nil, &env.Failure{Exit: env.Usage, What: fmt.Sprintf("--node-ca: %v", err), Err: err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, env.Failf(env.Usage, "--node-ca: %s holds no certificate in PEM", n.ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}, nil
}
