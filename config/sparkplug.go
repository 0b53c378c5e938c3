package config

// Sparkplug makes the gateway a Sparkplug B edge node.
type Sparkplug struct {
	Enabled     bool   `yaml:"enabled" default:"false" doc:"Publish sensors and lines as a Sparkplug B edge node too, under spBv1.0/."`
	Group       string `yaml:"group" default:"gatewayd" check:"level" doc:"Sparkplug group."`
	Node        string `yaml:"node" check:"level" doc:"Edge node id; default: the gateway's id."`
	PrimaryHost string `yaml:"primary_host" check:"level" doc:"Host application whose STATE is waited for: births come when it is online, values wait while it is not. Empty: no host is waited for."`
	Bridge      string `yaml:"bridge" doc:"Bridge that leads to the hosts' server: the node is alive while it is connected, and its connection's will is the NDEATH. Empty: hosts connect to this gateway."`
	Buffer      int    `yaml:"buffer" default:"10000" min:"1" max:"1000000" doc:"Values kept in memory while there is no server or host; they follow the births, marked as historical. The oldest go."`
}
