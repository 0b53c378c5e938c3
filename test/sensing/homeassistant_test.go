package sensing

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/eclipse/paho.golang/paho"
)

// What Home Assistant demands of a device's discovery document, from its MQTT documentation and the schemas behind it: keys it
// knows (it refuses a document with another), units that go with a device class, and state classes that go with it.
var (
	deviceKeys = []string{"identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number", "sw_version", "via_device",
		"suggested_area", "configuration_url"}
	originKeys    = []string{"name", "sw_version", "support_url"}
	rootKeys      = []string{"device", "origin", "components", "availability", "availability_mode", "qos", "encoding", "state_topic", "command_topic"}
	entityKeys    = []string{"platform", "unique_id", "default_entity_id", "name", "state_topic", "value_template", "device_class", "entity_category", "expire_after", "qos", "icon"}
	componentKeys = map[string][]string{
		"sensor":        append(slices.Clone(entityKeys), "state_class", "unit_of_measurement", "suggested_display_precision", "force_update"),
		"binary_sensor": append(slices.Clone(entityKeys), "payload_on", "payload_off", "off_delay", "force_update"),
		"switch":        append(slices.Clone(entityKeys), "command_topic", "payload_on", "payload_off", "state_on", "state_off", "optimistic", "retain"),
	}
	pressures  = []string{"Pa", "hPa", "kPa", "mbar", "cbar", "bar", "mmHg", "inHg", "psi"}
	sizes      = []string{"bit", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"}
	classUnits = map[string][]string{
		"temperature": {"°C", "°F", "K"}, "humidity": {"%"}, "atmospheric_pressure": pressures, "pressure": pressures, "distance": {"mm", "cm", "m", "km", "in", "ft", "yd", "mi"},
		"illuminance": {"lx"}, "carbon_dioxide": {"ppm"}, "volatile_organic_compounds_parts": {"ppm", "ppb"}, "aqi": {""}, "pm1": {"µg/m³"}, "pm25": {"µg/m³"}, "pm10": {"µg/m³"},
		"voltage": {"µV", "mV", "V", "kV", "MV"}, "current": {"mA", "A"}, "power": {"mW", "W", "kW", "MW", "GW", "TW"}, "energy": {"J", "kJ", "MJ", "Wh", "kWh", "MWh"},
		"weight": {"µg", "mg", "g", "kg", "oz", "lb"}, "frequency": {"Hz", "kHz", "MHz", "GHz"}, "volume_flow_rate": {"m³/h", "L/min", "mL/s"}, "water": {"L", "m³", "gal", "ft³"},
		"data_size": sizes, "duration": {"d", "h", "min", "s", "ms"},
	}
	// Classes whose state class is not measurement alone.
	classStates = map[string][]string{
		"energy": {"total", "total_increasing"}, "water": {"total", "total_increasing"},
		"distance": {"measurement", "total", "total_increasing"}, "data_size": {"measurement", "total", "total_increasing"},
		"duration": {"measurement", "total", "total_increasing"}, "weight": {"measurement", "total", "total_increasing"},
	}
	binaryClasses = []string{"connectivity", "door", "window", "motion", "moisture", "opening", "power", "problem", "running"}
	objectID      = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	entityID      = regexp.MustCompile(`^(sensor|binary_sensor|switch)\.[a-z0-9_]+$`)
	valueOf       = regexp.MustCompile(`^\{\{ value_json\.([a-z_]+) \}\}$`)
)

type entity struct {
	key, platform, state, command, template string
	on, off                                 string
	availability                            []string
}

// home is a consumer as Home Assistant is one.
type home struct {
	*client
	unique map[string]string
}

func known(t *testing.T, where string, m map[string]any, keys []string) {
	t.Helper()
	for k := range m {
		if !slices.Contains(keys, k) {
			t.Errorf("%s: Home Assistant knows no key %q there", where, k)
		}
	}
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// take validates one document and returns its entities.
func (h *home) take(topic string, payload []byte) (all []entity) {
	t := h.t
	t.Helper()
	object := strings.TrimSuffix(strings.TrimPrefix(topic, "homeassistant/device/"), "/config")
	if !objectID.MatchString(object) {
		t.Errorf("%s is no discovery topic", topic)
	}
	var d map[string]any
	if err := json.Unmarshal(payload, &d); err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
	known(t, object, d, rootKeys)
	device, _ := d["device"].(map[string]any)
	known(t, object+" device", device, deviceKeys)
	if ids, _ := device["identifiers"].([]any); len(ids) == 0 || text(device, "name") == "" {
		t.Errorf("%s: the device %v has no identifiers or no name", object, device)
	}
	origin, _ := d["origin"].(map[string]any)
	known(t, object+" origin", origin, originKeys)
	if text(origin, "name") == "" {
		t.Errorf("%s: a device document needs an origin", object)
	}
	if m := text(d, "availability_mode"); m != "" && m != "all" && m != "any" && m != "latest" {
		t.Errorf("%s: availability mode %q", object, m)
	}
	var topics []string
	if list, ok := d["availability"].([]any); ok {
		for _, x := range list {
			a, _ := x.(map[string]any)
			known(t, object+" availability", a, []string{"topic", "payload_available", "payload_not_available", "value_template"})
			topics = append(topics, text(a, "topic"))
		}
	}
	components, _ := d["components"].(map[string]any)
	if len(components) == 0 {
		t.Errorf("%s has no components", object)
	}
	for key, x := range components {
		c, _ := x.(map[string]any)
		where := object + " " + key
		platform := text(c, "platform")
		if componentKeys[platform] == nil {
			t.Errorf("%s: platform %q", where, platform)
			continue
		}
		if len(c) == 1 {
			continue // taken back
		}
		known(t, where, c, componentKeys[platform])
		if id := text(c, "unique_id"); id == "" || h.unique[id] != "" && h.unique[id] != where {
			t.Errorf("%s: unique_id %q is empty, or that of %s", where, id, h.unique[id])
		} else {
			h.unique[id] = where
		}
		if e := text(c, "default_entity_id"); !entityID.MatchString(e) || !strings.HasPrefix(e, platform+".") {
			t.Errorf("%s: default_entity_id %q", where, e)
		}
		if cat := text(c, "entity_category"); cat != "" && cat != "diagnostic" {
			t.Errorf("%s: entity category %q of a thing that only reports", where, cat)
		}
		class, unit, state := text(c, "device_class"), text(c, "unit_of_measurement"), text(c, "state_class")
		switch platform {
		case "sensor":
			if class != "" && !slices.Contains(classUnits[class], unit) {
				t.Errorf("%s: unit %q does not go with device class %q", where, unit, class)
			}
			allowed := classStates[class]
			switch {
			case class == "" || state == "":
				allowed = []string{"", "measurement", "total", "total_increasing"}
			case allowed == nil:
				allowed = []string{"measurement"}
			}
			if !slices.Contains(allowed, state) {
				t.Errorf("%s: state class %q does not go with device class %q", where, state, class)
			}
		case "binary_sensor":
			if class != "" && !slices.Contains(binaryClasses, class) {
				t.Errorf("%s: device class %q", where, class)
			}
		case "switch":
			if text(c, "command_topic") == "" {
				t.Errorf("%s: a switch needs a command topic", where)
			}
		}
		template := text(c, "value_template")
		if template != "" && !valueOf.MatchString(template) {
			t.Errorf("%s: template %q", where, template)
		}
		e := entity{key: where, platform: platform, state: text(c, "state_topic"), command: text(c, "command_topic"), template: template,
			on: text(c, "payload_on"), off: text(c, "payload_off"), availability: topics}
		for _, topic := range append(slices.Clone(topics), e.state) {
			if topic == "" || strings.ContainsAny(topic, "+#") {
				t.Errorf("%s: topic %q", where, topic)
			}
		}
		all = append(all, e)
	}
	return all
}

// valid says whether a payload is a state that Home Assistant understands.
func (e entity) valid(payload string) bool {
	if e.template != "" {
		var m map[string]any
		if json.Unmarshal([]byte(payload), &m) != nil {
			return false
		}
		payload = fmt.Sprint(m[valueOf.FindStringSubmatch(e.template)[1]])
	}
	if e.platform == "sensor" {
		_, err := strconv.ParseFloat(payload, 64)
		return err == nil
	}
	return payload == e.on || payload == e.off
}

const houseOf = `board: sim
discovery: {home_assistant: true}
`

// everything is each driver's sensor that the simulated board can have side by side, in both formats, and every kind of line.
const everything = `sensors:
  - {name: room1, driver: bme280, every: 200ms, derive: [{quantity: dew_point}, {quantity: absolute_humidity}, {quantity: sea_level_pressure, options: {altitude: 300}}]}
  - {name: "Raum Süd", driver: sht4x, every: 200ms, format: json, topic: "sued/{quantity}"}
  - {name: gas, driver: bme680, bus: i2c-0, every: 1s}
  - {name: air, driver: scd4x, every: 5s}
  - {name: voc, driver: sgp30, every: 1s}
  - {name: ens, driver: ens160, every: 1s}
  - {name: dust, driver: pms5003, bus: ttyAMA0, every: 2s}
  - {name: light, driver: bh1750, every: 1s, retain: false}
  - {name: uv, driver: veml6075, every: 1s}
  - {name: adc, driver: ads1115, every: 1s, options: {channels: [0, 2]}}
  - {name: supply, driver: ina219, every: 1s}
  - {name: tilt, driver: adxl345, bus: i2c-0, every: 1s}
  - {name: water, driver: ds18b20, every: 1s}
  - {name: scale, driver: hx711, every: 1s, options: {clock: GPIO5, data: GPIO6}}
  - {name: tank, driver: hcsr04, every: 1s, options: {trigger: GPIO23, echo: GPIO24}}
  - {name: cpu, driver: soc, every: 1s}
  - {name: board, driver: board, every: 1s}
lines:
  - {name: door, line: GPIO17, direction: in, topic: hall/door}
  - {name: window, line: GPIO18, direction: in, topic: hall/window, format: json, "on": OPEN, "off": CLOSED}
  - {name: meter, line: GPIO19, direction: in, topic: "meter/{quantity}", count: rising, unit: L, every: 1s}
  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set}
  - {name: fan, line: GPIO22, direction: out, topic: hall/fan, format: json, "on": RUN, "off": STOP}
`

// A consumer shaped like Home Assistant finds every sensor, line and the gateway itself in documents that its schema takes; every
// entity has a state it understands and is available; switches obey; the birth message brings all again; what is gone from the
// configuration is cleared.
func TestHomeAssistant(t *testing.T) {
	t.Parallel()
	g := start(t, houseOf+everything)
	h := &home{g.client("homeassistant", "homeassistant/#"), map[string]string{}}
	documents := func() (seen map[string]int) {
		seen = map[string]int{}
		for _, p := range h.messages() {
			if strings.HasSuffix(p.Topic, "/config") && len(p.Payload) > 0 {
				seen[p.Topic]++
			}
		}
		return seen
	}
	const devices = 1 + 17 + 5 // the gateway, its sensors, its lines
	h.until("every document", func() bool { return len(documents()) >= devices })
	if n := len(documents()); n != devices {
		t.Errorf("%d documents, want %d", n, devices)
	}
	var all []entity
	platforms := map[string]int{}
	for _, p := range h.messages() {
		if strings.HasPrefix(p.Topic, "homeassistant/device/") {
			all = append(all, h.take(p.Topic, p.Payload)...)
		}
	}
	for _, e := range all {
		platforms[e.platform]++
	}
	if platforms["sensor"] < 40 || platforms["switch"] != 2 || platforms["binary_sensor"] < 3 {
		t.Errorf("platforms: %v", platforms)
	}

	// As Home Assistant does, subscribe to what the documents name.
	var topics []string
	for _, e := range all {
		for _, topic := range append(e.availability, e.state) {
			if !slices.Contains(topics, topic) {
				topics = append(topics, topic)
			}
		}
	}
	for _, topic := range topics {
		if _, err := h.c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
	}
	waiting := ""
	defer func() {
		if t.Failed() {
			t.Log("the last that was waited for:", waiting)
		}
	}()
	h.until("a state of every entity", func() bool {
		last := map[string]string{}
		for _, p := range h.messages() {
			last[p.Topic] = string(p.Payload)
		}
		for _, e := range all {
			if s, ok := last[e.state]; !ok || !e.valid(s) {
				waiting = fmt.Sprintf("%s on %s, which is %q", e.key, e.state, s)
				return false
			}
			for _, topic := range e.availability {
				if last[topic] != "online" {
					waiting = fmt.Sprintf("%s on %s, which is %q", e.key, topic, last[topic])
					return false
				}
			}
		}
		return true
	})
	for _, e := range all {
		if e.platform != "switch" {
			continue
		}
		for _, want := range []string{e.on, e.off} {
			h.publish(e.command, want, nil)
			h.until(e.command+" "+want, func() bool {
				got := h.on(e.state)
				return len(got) > 0 && strings.Contains(got[len(got)-1], want)
			})
		}
	}

	// Home Assistant starts: all is said again.
	h.publish("homeassistant/status", "online", nil)
	h.until("every document once more", func() bool {
		seen := documents()
		for _, n := range seen {
			if n < 2 {
				return false
			}
		}
		return len(seen) == devices
	})

	// The lamp, the dust sensor and one derived quantity go.
	fewer := everything
	for _, gone := range []string{"  - {name: dust, driver: pms5003, bus: ttyAMA0, every: 2s}\n",
		"  - {name: lamp, line: GPIO27, direction: out, topic: hall/lamp, command_topic: hall/lamp/set}\n", ", {quantity: sea_level_pressure, options: {altitude: 300}}"} {
		if !strings.Contains(fewer, gone) {
			t.Fatalf("no %q", gone)
		}
		fewer = strings.Replace(fewer, gone, "", 1)
	}
	config := strings.Replace(g.config, everything, fewer, 1)
	if err := os.WriteFile(filepath.Join(g.dir, "gatewayd.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := g.p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	cleared := func(object string) func() bool {
		return func() bool {
			got := h.on("homeassistant/device/" + object + "/config")
			return len(got) > 0 && got[len(got)-1] == ""
		}
	}
	h.until("the dust sensor taken back", cleared("gatewayd_gw_dust"))
	h.until("the lamp taken back", cleared("gatewayd_gw_lamp"))
	room := "homeassistant/device/gatewayd_gw_room1/config"
	h.until("the quantity taken back", func() bool {
		got := h.on(room)
		return len(got) > 0 && !strings.Contains(got[len(got)-1], "sea_level_pressure")
	})
	got := h.on(room)
	if before := got[len(got)-2]; !strings.Contains(before, `"sea_level_pressure":{"platform":"sensor"}`) {
		t.Errorf("a component that goes is first left with its platform alone, but the document before is %s", before)
	}
	late := &home{g.client("late", "homeassistant/#"), map[string]string{}}
	late.until("the documents that are left", func() bool {
		seen := map[string]bool{}
		for _, p := range late.messages() {
			seen[p.Topic] = true
		}
		return len(seen) >= devices-2
	})
	for _, p := range late.messages() {
		late.take(p.Topic, p.Payload)
		if strings.Contains(p.Topic, "_dust/") || strings.Contains(p.Topic, "_lamp/") {
			t.Errorf("still retained: %s", p.Topic)
		}
	}
}
