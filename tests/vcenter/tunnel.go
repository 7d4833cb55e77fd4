package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
)

// startTunnel serves the proxy by which extensions log in. The simulator's own answers before it takes
// the connection over, and loses what a client that is quick has sent by then.
func startTunnel(host string, port int, server string) error {
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tunnel(w, r, server)
		}))
	}()
	return nil
}

func tunnel(w http.ResponseWriter, r *http.Request, server string) {
	if r.Method != http.MethodConnect {
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", server)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		_ = there.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(here, there)
		_ = here.Close()
	}()
	go func() {
		_, _ = io.Copy(there, buffered)
		_ = there.Close()
	}()
}
