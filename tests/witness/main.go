// Command witness is Kubernetes' own FlexVolume host as a process that tests can ask: one JSON request a line on
// standard input, one JSON reply a line on standard output. What Kubernetes logs goes to standard error.
//
// Nothing of the host is written here: the prober, the plugin manager and the volumes are those of k8s.io/kubernetes. This
// program gives them a root, a plugin directory and Secrets, and calls them as the kubelet and the controllers do.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"k8s.io/utils/exec"
)

// reply is what came of one request: a value, or an error, or what the original panicked with.
type reply struct {
	Value any      `json:"value,omitempty"`
	Error *failure `json:"error,omitempty"`
	Panic string   `json:"panic,omitempty"`
}

// failure is an error of the original, and which kind it is as far as callers can tell.
type failure struct {
	Text string `json:"text"`
	Kind kind   `json:"kind"`
}

// kind says what an error is about.
type kind string

const (
	// notSupported: the driver does not know the verb.
	notSupported kind = "notSupported"
	// unreadable: what the driver said is not the JSON it should be.
	unreadable kind = "unreadable"
	// exit: the driver said Success and exited otherwise.
	exit kind = "exit"
	// failed: anything else, above all what a driver says that failed.
	failed kind = "failed"
)

func main() {
	root := flag.String("root", "", "what the kubelet calls its root directory")
	plugins := flag.String("plugins", "", "the directory of FlexVolume drivers")
	flag.Parse()
	if *root == "" || *plugins == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*root, *plugins, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

// serve answers until the requests end.
func serve(root, plugins string, in io.Reader, out io.Writer) error {
	witness, err := newSession(root, plugins)
	if err != nil {
		return err
	}
	requests, replies := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var asked request
		if err := requests.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot read a request: %w", err)
		}
		if err := replies.Encode(witness.answer(asked)); err != nil {
			return fmt.Errorf("cannot write a reply: %w", err)
		}
	}
}

// answer does what is asked; a panic of the original is an answer too.
func (s *session) answer(asked request) (told reply) {
	defer func() {
		if cause := recover(); cause != nil {
			os.Stderr.Write(debug.Stack())
			told = reply{Panic: fmt.Sprint(cause)}
		}
	}()
	do, known := deeds[asked.Do]
	if !known {
		return reply{Error: &failure{Text: fmt.Sprintf("nobody can do %q", asked.Do), Kind: failed}}
	}
	value, err := do(s, asked)
	if err != nil {
		return reply{Error: &failure{Text: err.Error(), Kind: kindOf(err)}}
	}
	return reply{Value: value}
}

func kindOf(err error) kind {
	var (
		syntax *json.SyntaxError
		shape  *json.UnmarshalTypeError
		ended  exec.ExitError
	)
	switch {
	case err.Error() == "Not supported":
		return notSupported
	case errors.As(err, &syntax), errors.As(err, &shape):
		return unreadable
	case errors.As(err, &ended):
		return exit
	default:
		return failed
	}
}
