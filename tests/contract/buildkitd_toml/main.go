// Prints what BuildKit's own parser makes of each buildkitd.toml in the list on standard input.
package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/moby/buildkit/cmd/buildkitd/config"
)

type answer struct {
	Error  string
	Config config.Config
}

func main() {
	var documents []string
	if err := json.NewDecoder(os.Stdin).Decode(&documents); err != nil {
		panic(err)
	}
	answers := []answer{}
	for _, document := range documents {
		read, err := config.Load(strings.NewReader(document))
		if err != nil {
			answers = append(answers, answer{Error: err.Error()})
			continue
		}
		answers = append(answers, answer{Config: read})
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		panic(err)
	}
}
