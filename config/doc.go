// Package config reads gatewayd's configuration: strict YAML in, typed and
// checked structs out.
//
// Load reads the main file and the conf.d folder beside it; Parse reads one
// text; Default is what runs when there is no file at all. All three return
// a Config in which every default is filled in and every value has been
// checked, or Errors: one sentence each, with file, line, column and what to
// do about it. The structs and their tags are the single source of names,
// defaults, ranges and explanations: the JSON Schema (Schema), the reference
// page (Reference) and the effective configuration (Show) are made from them.
//
// What only another room can judge (is this filter valid, is there such a
// driver) is judged by cmd/gatewayd, which names the place with
// Config.Errorf. A Config is read-only once returned and may be shared.
//
// Nothing else in gatewayd reads configuration files or the environment.
package config
