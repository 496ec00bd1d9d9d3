package engines

import (
	"bytes"
	"regexp"
)

var (
	// hcl are strings and comments of HCL, whichever begins first.
	hcl = regexp.MustCompile(`"(?:\\.|[^"\\\n])*"|(?s:/\*.*?\*/)|(?:#|//)[^\n]*`)
	// pluginDocker is of HCL, and of its form in JSON.
	pluginDocker = regexp.MustCompile(`"?plugin"?\s*[:=]?\s*[\[{\s]*"?docker"?\s*[:={\[]`)
)

// dockerPlugin tells whether a file of Nomad's has a section on the docker driver.
func dockerPlugin(text []byte) bool {
	return pluginDocker.Match(hcl.ReplaceAllFunc(text, func(token []byte) []byte {
		if bytes.HasPrefix(token, []byte(`"`)) {
			return token
		}
		return nil
	}))
}
