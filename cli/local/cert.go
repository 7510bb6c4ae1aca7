package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certificates that --tls auto makes: an authority of this user's, which stays, and of each broker one that
// it signs, which is made anew when it is about to end or lacks a name.
const (
	authorityLasts   = 10 * 365 * 24 * time.Hour
	certificateLasts = 365 * 24 * time.Hour
	renewBefore      = 30 * 24 * time.Hour
)

// autoCert returns the files of a certificate for hosts, with its key in it, and of who signed it.
func autoCert(dir, name string, hosts []string, now time.Time) (cert, ca string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	cert, ca = filepath.Join(dir, name+".pem"), filepath.Join(dir, "ca.pem")
	authority, err := readPair(filepath.Join(dir, "ca-key.pem"), now)
	if err != nil {
		if authority, err = newPair(&x509.Certificate{
			Subject: pkix.Name{CommonName: "rmq of this machine"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		}, nil, now, authorityLasts); err != nil {
			return "", "", err
		}
		if err := errors.Join(authority.write(filepath.Join(dir, "ca-key.pem"), true), authority.write(ca, false)); err != nil {
			return "", "", err
		}
	}
	if old, err := readPair(cert, now); err == nil && old.fits(authority, hosts) {
		return cert, ca, nil
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	own, err := newPair(template, authority, now, certificateLasts)
	if err != nil {
		return "", "", err
	}
	return cert, ca, own.write(cert, true)
}

// pair is a certificate and its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPair(template *x509.Certificate, by *pair, now time.Time, lasts time.Duration) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	// A client's clock may be behind.
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, now.Add(-time.Hour), now.Add(lasts)
	if by == nil {
		by = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &pair{cert, key}, err
}

// readPair reads what write has written, unless it ends soon.
func readPair(path string, now time.Time) (*pair, error) {
	both, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, err
	}
	key, ok := both.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || now.Add(renewBefore).After(both.Leaf.NotAfter) {
		return nil, errors.New("it ends soon, or is not ours")
	}
	return &pair{both.Leaf, key}, nil
}

func (p *pair) fits(authority *pair, hosts []string) bool {
	ok := p.cert.CheckSignatureFrom(authority.cert) == nil
	for _, h := range hosts {
		ok = ok && p.cert.VerifyHostname(h) == nil
	}
	return ok
}

// write puts it into a file at once, so that whoever reads sees all of it.
func (p *pair) write(path string, withKey bool) error {
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if withKey {
		der, err := x509.MarshalPKCS8PrivateKey(p.key)
		if err != nil {
			return err
		}
		if err := pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
			return err
		}
		mode = 0o600
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error tells
	}
	return err
}
