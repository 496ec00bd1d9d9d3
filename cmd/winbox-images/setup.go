package main

import (
	"errors"
	"fmt"
	"io"

	"winbox/engines"
	"winbox/images/request"
)

// setup carries out `winbox setup`. What --print shows is the whole file and nothing else, so that it can be
// redirected.
func setup(r *request.Request, stdout, stderr io.Writer) error {
	if r.Args[0] == "kubernetes" {
		if r.Remove {
			return errors.New("nothing was written: kubectl delete runtimeclass " + engines.Name)
		}
		_, err := io.WriteString(stdout, engines.RuntimeClass)
		return err
	}
	c, err := engines.Plan(engines.Options{
		Engine: r.Args[0], Runtime: r.Runtime, Remove: r.Remove, Dest: r.Dest, User: r.UserConfig,
	})
	if err != nil {
		return err
	}
	write, remove := "wrote", "removed"
	if r.Print {
		write, remove = "would write", "would remove"
		if _, err := stdout.Write(c.New); err != nil {
			return err
		}
		stdout = stderr
	} else if err := c.Apply(); err != nil {
		return err
	}
	switch {
	case c.Nothing() && r.Remove:
		fmt.Fprintf(stdout, "nothing to do: there is no winbox in %s\n", c.Path)
		return nil
	case c.Nothing():
		fmt.Fprintf(stdout, "nothing to do: %s has winbox\n", c.Path)
		return nil
	case c.New == nil:
		fmt.Fprintf(stdout, "%s %s\n", remove, c.Path)
	default:
		fmt.Fprintf(stdout, "%s %s\n", write, c.Path)
	}
	if c.Next != "" {
		fmt.Fprintf(stdout, "next: %s\n", c.Next)
	}
	if c.Use != "" {
		fmt.Fprintf(stdout, "then: %s\n", c.Use)
	}
	return nil
}
