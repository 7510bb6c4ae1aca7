package auth

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// A hash of a password, as it is kept, says itself how it was made:
//
//	$argon2id$v=19$m=19456,t=2,p=1$salt$hash    ours; base 64 without padding
//	$2a$10$…  $2b$…  $2y$…                      bcrypt, of at most 72 bytes
//	$7$iterations$salt$hash                     Mosquitto: PBKDF2 with HMAC-SHA-512; base 64
//	$6$salt$hash                                Mosquitto before 2.0: SHA-512 of password and salt
//
// What is not ours is taken over as it is when it is imported, and replaced when the password
// is changed.

// argonParams are the costs of argon2id.
type argonParams struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// argonCost is what OWASP has for a server: 19 MiB, and about 20 ms of a processor.
var argonCost = argonParams{memory: 19 << 10, time: 2, threads: 1}

// Bounds of a hash that is imported: what checking it may cost.
const (
	argonMemoryMax = 64 << 10 // KiB; times the hashes computed at once
	argonTimeMax   = 16
	argonLanesMax  = 16
	pbkdf2Max      = 5_000_000 // iterations: seconds of a processor
	bcryptCostMax  = 14
	hashMax        = 512 // bytes of a hash as text
	saltLen        = 16
	argonLen       = 32
)

var errHash = errors.New("it is none of argon2id, bcrypt, and Mosquitto's $7$ and $6$")

// makeHash makes a hash of a password.
func makeHash(password string, p argonParams) []byte {
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, argonLen)
	return fmt.Appendf(nil, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// CheckHash tells what is wrong with a hash that is to be kept.
func CheckHash(hash []byte) error {
	if len(hash) > hashMax {
		return fmt.Errorf("a hash of %d bytes", len(hash))
	}
	if bytes.HasPrefix(hash, []byte("$2")) {
		cost, err := bcrypt.Cost(hash)
		if err == nil && cost > bcryptCostMax {
			err = fmt.Errorf("bcrypt of cost %d, at most %d", cost, bcryptCostMax)
		}
		return err
	}
	_, err := parseHash(string(hash))
	return err
}

// rightPassword tells whether a hash is that of a password. It takes the time that it is made
// to take.
func rightPassword(hash []byte, password string) bool {
	if bytes.HasPrefix(hash, []byte("$2")) {
		return len(password) <= bcryptMax && CheckHash(hash) == nil && bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	}
	h, err := parseHash(string(hash))
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(h.derive(password), h.sum) == 1
}

// bcryptMax is as much as bcrypt looks at, in bytes. A longer password is wrong, not cut.
const bcryptMax = 72

// parsedHash is a hash other than bcrypt's.
type parsedHash struct {
	salt, sum []byte
	derive    func(password string) []byte
}

func parseHash(text string) (*parsedHash, error) {
	f := strings.Split(text, "$")
	if len(f) < 4 || f[0] != "" {
		return nil, errHash
	}
	h := new(parsedHash)
	enc := base64.StdEncoding
	switch {
	case f[1] == "argon2id" && len(f) == 6:
		var p argonParams
		enc = base64.RawStdEncoding
		if f[2] != "v="+strconv.Itoa(argon2.Version) {
			return nil, fmt.Errorf("argon2id of %q", f[2])
		}
		if n, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || n != 3 {
			return nil, fmt.Errorf("argon2id with %q", f[3])
		}
		if p.memory > argonMemoryMax || p.time > argonTimeMax || p.threads > argonLanesMax || p.time == 0 || p.threads == 0 {
			return nil, fmt.Errorf("argon2id with %s; at most m=%d,t=%d,p=%d are computed", f[3], argonMemoryMax, argonTimeMax, argonLanesMax)
		}
		h.derive = func(password string) []byte {
			return argon2.IDKey([]byte(password), h.salt, p.time, p.memory, p.threads, uint32(len(h.sum)))
		}
	case f[1] == "7" && len(f) == 5:
		n, err := strconv.Atoi(f[2])
		if err != nil || n < 1 || n > pbkdf2Max {
			return nil, fmt.Errorf("PBKDF2 with %q iterations; at most %d are computed", f[2], pbkdf2Max)
		}
		h.derive = func(password string) []byte {
			key, err := pbkdf2.Key(sha512.New, password, h.salt, n, len(h.sum))
			if err != nil {
				return nil // a length that no hash has
			}
			return key
		}
	case f[1] == "6" && len(f) == 4:
		h.derive = func(password string) []byte {
			sum := sha512.Sum512(append([]byte(password), h.salt...))
			return sum[:]
		}
	default:
		return nil, errHash
	}
	var err error
	if h.salt, err = enc.DecodeString(f[len(f)-2]); err == nil {
		h.sum, err = enc.DecodeString(f[len(f)-1])
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("a hash that is not in base 64: %w", err)
	case len(h.salt) == 0 || len(h.sum) < 16 || f[1] != "argon2id" && len(h.sum) != sha512.Size:
		return nil, errors.New("a hash of which a part is missing")
	}
	return h, nil
}
