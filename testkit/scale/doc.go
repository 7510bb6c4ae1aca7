// Package scale asks what a kernel costs when it holds much: ten million messages in
// one queue, a million sessions who are away, a million retained messages, thousands of connections with nothing to say. Its tests print memory, disk, the time of a
// restart and how long applying an entry takes while checkpoints run. By default they are
// small, and check that nothing is lost; a flag gives the real size:
//
//	go test ./testkit/scale -run TestTenMillionMessages -messages 10000000 -v -timeout 30m
//	go test ./testkit/scale -run TestMillionSessions -sessions 1000000 -v -timeout 30m
//	go test ./testkit/scale -run TestMillionRetained -retained 1000000 -v -timeout 30m
//	go test ./testkit/scale -run TestIdleConnections -connections 8000 -v
//	go test ./testkit/scale -run TestIdleSecureConnections -connections 8000 -v
package scale
