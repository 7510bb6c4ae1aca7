// Package crash holds no code: its tests start the real binary, kill it with SIGKILL while
// clients of all protocols are at work, and look whether everything that was acknowledged
// is there when it has started again.
//
// The binary is built by the tests, unless RMQ_BINARY names one. How much is sent is a
// flag:
//
//	go test ./testkit/crash -messages 10000
package crash
