package sensors

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
)

// builtins are derived quantities known by name.
var builtins = map[string]struct {
	need    []string
	options []string
	f       func(v map[string]float64) (float64, error)
}{
	"dew_point":   {need: []string{"temperature", "humidity"}, f: func(v map[string]float64) (float64, error) { return DewPoint(v["temperature"], v["humidity"]) }},
	"frost_point": {need: []string{"temperature", "humidity"}, f: func(v map[string]float64) (float64, error) { return FrostPoint(v["temperature"], v["humidity"]) }},
	"absolute_humidity": {need: []string{"temperature", "humidity"}, f: func(v map[string]float64) (float64, error) {
		return AbsoluteHumidity(v["temperature"], v["humidity"]), nil
	}},
	"vapour_pressure_deficit": {need: []string{"temperature", "humidity"}, f: func(v map[string]float64) (float64, error) {
		return VapourPressureDeficit(v["temperature"], v["humidity"]), nil
	}},
	"sea_level_pressure": {need: []string{"pressure", "temperature"}, options: []string{"altitude"}, f: func(v map[string]float64) (float64, error) {
		return SeaLevelPressure(v["pressure"], v["temperature"], v["altitude"]), nil
	}},
	"altitude": {need: []string{"pressure"}, options: []string{"sea_level"}, f: func(v map[string]float64) (float64, error) { return Altitude(v["pressure"], v["sea_level"]), nil }},
}

// newDerivation compiles one derived quantity.
func newDerivation(s DeriveSpec, have []string) (*derivation, error) {
	if s.Formula != "" {
		return newFormula(s, have)
	}
	b, ok := builtins[s.Quantity]
	if !ok {
		return nil, fmt.Errorf("needs a formula%s", suggest(s.Quantity, slices.Sorted(maps.Keys(builtins))))
	}
	for _, q := range b.need {
		if !slices.Contains(have, q) {
			return nil, fmt.Errorf("needs %s, which this sensor does not have", q)
		}
	}
	opts := map[string]float64{}
	for _, o := range b.options {
		v, err := field(s.Options, o, math.NaN())
		if err != nil {
			return nil, err
		}
		if math.IsNaN(v) {
			return nil, fmt.Errorf("needs the option %s", o)
		}
		opts[o] = v
	}
	if err := onlyKeys(s.Options, b.options...); err != nil {
		return nil, err
	}
	if s.Unit == "" {
		s.Unit = QuantityOf(s.Quantity).Unit
	}
	return &derivation{spec: s, need: b.need, f: func(v map[string]float64) (float64, error) {
		maps.Copy(v, opts)
		return b.f(v)
	}}, nil
}

// newFormula compiles an expression over the quantities by name, options by
// name, and the functions of formulaFuncs.
func newFormula(s DeriveSpec, have []string) (*derivation, error) {
	env := map[string]any{}
	for _, q := range have {
		env[q] = 0.0
	}
	opts := map[string]float64{}
	for k := range s.Options {
		if slices.Contains(have, k) {
			return nil, fmt.Errorf("option %s has the name of a quantity", k)
		}
		v, err := field(s.Options, k, 0)
		if err != nil {
			return nil, err
		}
		env[k], opts[k] = v, v
	}
	maps.Copy(env, formulaFuncs)
	prog, err := expr.Compile(s.Formula, expr.Env(env), expr.AsFloat64())
	if err != nil {
		return nil, errors.New(strings.SplitN(err.Error(), "\n", 2)[0])
	}
	d := &derivation{spec: s}
	for _, q := range have {
		if usesName(s.Formula, q) {
			d.need = append(d.need, q)
		}
	}
	if len(d.need) == 0 {
		return nil, fmt.Errorf("the formula uses none of %s", strings.Join(have, ", "))
	}
	d.f = func(v map[string]float64) (float64, error) {
		e := make(map[string]any, len(env))
		maps.Copy(e, env)
		for k, x := range v {
			e[k] = x
		}
		out, err := expr.Run(prog, e)
		if err != nil {
			return 0, err
		}
		f, ok := out.(float64)
		if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, errors.New("the formula gives no number")
		}
		return f, nil
	}
	return d, nil
}

// formulaFuncs are what a formula may call besides the language's own.
var formulaFuncs = map[string]any{
	"sqrt": math.Sqrt, "exp": math.Exp, "log": math.Log, "log10": math.Log10, "pow": math.Pow,
	"sin": math.Sin, "cos": math.Cos, "tan": math.Tan, "atan2": math.Atan2,
	"absolute_humidity_of": AbsoluteHumidity,
}

// usesName tells whether name appears in the formula as a whole word.
func usesName(formula, name string) bool {
	word := func(c byte) bool {
		return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	for i := 0; ; {
		j := strings.Index(formula[i:], name)
		if j < 0 {
			return false
		}
		i += j
		end := i + len(name)
		if (i == 0 || !word(formula[i-1])) && (end == len(formula) || !word(formula[end])) {
			return true
		}
		i = end
	}
}

// saturation is the pressure of water vapour over water at t °C, in hPa
// (Magnus form with the coefficients of Sonntag 1990).
func saturation(t float64) float64 { return 6.112 * math.Exp(17.62*t/(243.12+t)) }

// DewPoint is where air of t °C and rh % begins to condense.
func DewPoint(t, rh float64) (float64, error) {
	if rh <= 0 {
		return 0, errors.New("no dew point at 0 % humidity")
	}
	g := math.Log(rh/100) + 17.62*t/(243.12+t)
	return 243.12 * g / (17.62 - g), nil
}

// FrostPoint is where ice begins to form; above 0 °C it is the dew point.
func FrostPoint(t, rh float64) (float64, error) {
	d, err := DewPoint(t, rh)
	if err != nil || d >= 0 {
		return d, err
	}
	// Over ice: 6.112 hPa · exp(22.46 t/(272.62+t)).
	g := math.Log(saturation(d) / 6.112)
	return 272.62 * g / (22.46 - g), nil
}

// AbsoluteHumidity is the mass of water in a cubic metre of air, in g.
func AbsoluteHumidity(t, rh float64) float64 {
	return 216.68 * rh / 100 * saturation(t) / (273.15 + t)
}

// VapourPressureDeficit is what the air could still take up, in kPa.
func VapourPressureDeficit(t, rh float64) float64 { return saturation(t) * (1 - rh/100) / 10 }

// SeaLevelPressure reduces a pressure in hPa to sea level (barometric formula
// with the standard gradient and the temperature at the station).
func SeaLevelPressure(p, t, altitude float64) float64 {
	return p * math.Pow(1-0.0065*altitude/(t+0.0065*altitude+273.15), -5.257)
}

// Altitude is the height at which p is measured where sea level has p0, in m.
func Altitude(p, p0 float64) float64 { return 44330 * (1 - math.Pow(p/p0, 0.1903)) }
