// Command webserver serves HTTP on a port of the loopback interface, which it prints, until it is told to end: then it
// answers what has been asked and ends with exit code 0. The tests build it for Windows.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "webserver:", err)
		os.Exit(1)
	}
}

func serve() error {
	// On Windows, SIGTERM is what closing the console, or shutting down, becomes.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	// The sum of what is posted.
	mux.HandleFunc("POST /sum", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%x", sum.Sum(nil))
	})
	// An answer that comes in two parts: the second when the server is being ended.
	mux.HandleFunc("GET /end", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "waiting\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		<-ctx.Done()
		io.WriteString(w, "ended\n")
	})
	mux.Handle("GET /files/", http.StripPrefix("/files/", http.FileServer(http.Dir("."))))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: mux}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return server.Shutdown(context.Background())
	}
}
