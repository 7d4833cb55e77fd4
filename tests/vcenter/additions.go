package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// additions answers what the simulator doesn't, or not as vCenter does, and passes on the rest:
//
//   - InstantClone_Task, of a VM that runs;
//   - ReconfigVM_Task with a change version that is not the present one is ConcurrentAccess;
//   - ResetVM_Task boots a VM anew that stays powered on;
//   - PowerOnVM_Task notes when the VM was booted, and takes its time, as CreateVM_Task does, where
//     there is a delay;
//   - CreateVM_Task tells those who follow of the configuration of a VM that they have seen before it
//     had one;
//   - HasUserPrivilegeOnEntities, of a user who lacks some;
//   - DisableMethods and EnableMethods, which are in no public reference;
//   - AddDVPortgroup_Task and ReconfigureDVPortgroup_Task of traffic filters; see filters.go;
//   - QueryPerf for more metrics than config.vpxd.stats.maxQueryMetrics allows is InvalidArgument, and
//     of what has gone ManagedObjectNotFound.
type additions struct {
	next    http.Handler
	service *simulator.Service
	missing []string
	delay   time.Duration
}

func (h *additions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.URL.Path != "/sdk" || !ours(body) {
		h.next.ServeHTTP(w, r)
		return
	}
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch request := method.Body.(type) {
	case *types.InstantClone_Task:
		h.task(w, r, request.This, "InstantClone_Task", func(source *simulator.VirtualMachine) (types.AnyType, types.BaseMethodFault) {
			return h.clone(source, &request.Spec)
		})
	case *types.ResetVM_Task:
		h.task(w, r, request.This, "ResetVM_Task", reset)
	case *types.ReconfigVM_Task:
		h.reconfigure(w, r, request)
	case *types.HasUserPrivilegeOnEntities:
		h.privileges(w, request)
	case *types.CreateVM_Task:
		h.slowly(w, r, body, request.This, "CreateVM_Task", h.create)
	case *types.PowerOnVM_Task:
		h.slowly(w, r, body, request.This, "PowerOnVM_Task", h.next.ServeHTTP)
		if vm, ok := simulator.Map.Get(request.This).(*simulator.VirtualMachine); ok {
			// In an update of its own, after that of the power.
			time.AfterFunc(h.delay+50*time.Millisecond, func() { booted(vm) })
		}
	case *disableMethods:
		var names []string
		for _, method := range request.Method {
			names = append(names, simulators(method.Method))
		}
		h.permit(w, r, "DisableMethods", request.Entity, nil, names)
	case *enableMethods:
		names := map[string]bool{}
		for _, method := range request.Method {
			names[simulators(method)] = true
		}
		h.permit(w, r, "EnableMethods", request.Entity, names, nil)
	case *types.AddDVPortgroup_Task:
		h.addPortgroups(w, r, request)
	case *types.ReconfigureDVPortgroup_Task:
		h.reconfigurePortgroup(w, r, request)
	case *types.QueryPerf:
		if !h.refusedQuery(w, request) {
			h.next.ServeHTTP(w, r)
		}
	default:
		h.next.ServeHTTP(w, r)
	}
}

// mostMetrics is vCenter's default of config.vpxd.stats.maxQueryMetrics.
const mostMetrics = 64

// refusedQuery answers a query that vCenter would refuse.
func (h *additions) refusedQuery(w http.ResponseWriter, request *types.QueryPerf) bool {
	metrics := 0
	for _, spec := range request.QuerySpec {
		metrics += len(spec.MetricId)
		if simulator.Map.Get(spec.Entity) == nil {
			fault(w, "ManagedObjectNotFound", fmt.Sprintf(`<obj type="%s">%s</obj>`, spec.Entity.Type, spec.Entity.Value))
			return true
		}
	}
	if metrics > mostMetrics {
		fault(w, "InvalidArgument", "<invalidProperty>querySpec.size</invalidProperty>")
	}
	return metrics > mostMetrics
}

func fault(w http.ResponseWriter, kind string, content string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = fmt.Fprintf(w, `%s<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"`+
		` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>`+
		`<faultcode>ServerFaultCode</faultcode><faultstring></faultstring>`+
		`<detail><%sFault xmlns="urn:vim25" xsi:type="%s">%s</%sFault></detail>`+
		`</soapenv:Fault></soapenv:Body></soapenv:Envelope>`, xml.Header, kind, kind, content, kind)
}

func ours(body []byte) bool {
	for _, name := range []string{
		"InstantClone_Task", "ResetVM_Task", "ReconfigVM_Task", "PowerOnVM_Task", "CreateVM_Task", "DisableMethods", "EnableMethods",
		"HasUserPrivilegeOnEntities", "QueryPerf", "AddDVPortgroup_Task", "ReconfigureDVPortgroup_Task",
	} {
		if bytes.Contains(body, []byte(name)) {
			return true
		}
	}
	return false
}

// task answers with a task that does the work, where the session may reach the VM.
func (h *additions) task(
	w http.ResponseWriter, r *http.Request, this types.ManagedObjectReference, name string,
	work func(*simulator.VirtualMachine) (types.AnyType, types.BaseMethodFault),
) {
	if refused := h.refusal(r, this); refused != nil {
		pass(w, refused)
		return
	}
	vm := simulator.Map.Get(this).(*simulator.VirtualMachine)
	task := simulator.CreateTask(vm, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return work(vm)
	})
	answer(w, name, fmt.Sprintf(`<returnval type="Task">%s</returnval>`, task.Run().Value))
}

var taskOf = regexp.MustCompile(`type="Task"[^>]*>([^<]+)<`)

// slowly passes a call on after the delay, and has a task under way meanwhile: the simulator's own
// tasks have ended when their calls are answered.
func (h *additions) slowly(
	w http.ResponseWriter, r *http.Request, body []byte, this types.ManagedObjectReference, name string, next http.HandlerFunc,
) {
	entity := simulator.Map.Get(this)
	if h.delay == 0 || entity == nil {
		next(w, r)
		return
	}
	asked := r.Clone(context.Background())
	task := simulator.CreateTask(entity, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		asked.Body = io.NopCloser(bytes.NewReader(body))
		recorder := httptest.NewRecorder()
		next(recorder, asked)
		done := taskIn(recorder)
		if done == nil {
			return nil, &types.SystemError{Reason: recorder.Body.String()}
		}
		if done.Info.Error != nil {
			return nil, done.Info.Error.Fault
		}
		return done.Info.Result, nil
	})
	time.AfterFunc(h.delay, func() { task.Run() })
	answer(w, name, fmt.Sprintf(`<returnval type="Task">%s</returnval>`, task.Self.Value))
}

// taskIn returns the task of an answer; nil where it is a fault.
func taskIn(recorder *httptest.ResponseRecorder) *simulator.Task {
	found := taskOf.FindSubmatch(recorder.Body.Bytes())
	if found == nil {
		return nil
	}
	return simulator.Map.Get(types.ManagedObjectReference{Type: "Task", Value: string(found[1])}).(*simulator.Task)
}

// create passes a call on that makes a VM, and tells of it before that is answered.
func (h *additions) create(w http.ResponseWriter, r *http.Request) {
	recorder := httptest.NewRecorder()
	h.next.ServeHTTP(recorder, r)
	if task := taskIn(recorder); task != nil {
		if made, ok := task.Info.Result.(types.ManagedObjectReference); ok {
			tell(simulator.Map.Get(made).(*simulator.VirtualMachine))
		}
	}
	pass(w, recorder)
}

// tell tells those who follow what a VM is: the simulator shows it to them as soon as it has an ID, and
// of what it gets then tells them its name alone. Not that it is off: who sees it later sees it as it is
// then, and is told of each change since all the same.
func tell(vm *simulator.VirtualMachine) {
	simulator.Map.Update(vm, []types.PropertyChange{
		{Name: "config.uuid", Val: vm.Config.Uuid},
		{Name: "config.extraConfig", Val: vm.Config.ExtraConfig},
		{Name: "runtime.host", Val: *vm.Runtime.Host},
	})
}

// refusal asks the simulator itself whether this session may reach this VM: with a call that
// changes nothing. Its answer is the caller's where it is a fault.
func (h *additions) refusal(r *http.Request, vm types.ManagedObjectReference) *httptest.ResponseRecorder {
	probe := soap.Envelope{Body: &methods.RefreshStorageInfoBody{
		Req: &types.RefreshStorageInfo{This: vm},
	}}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	if err := xml.NewEncoder(&out).Encode(probe); err != nil {
		log.Fatal(err)
	}
	asked := r.Clone(r.Context())
	asked.Body = io.NopCloser(&out)
	recorder := httptest.NewRecorder()
	h.next.ServeHTTP(recorder, asked)
	if recorder.Code == http.StatusOK {
		return nil
	}
	return recorder
}

var changes int64

// reconfigure refuses what was decided on an older state of the VM, and counts the others.
func (h *additions) reconfigure(w http.ResponseWriter, r *http.Request, request *types.ReconfigVM_Task) {
	vm, ok := simulator.Map.Get(request.This).(*simulator.VirtualMachine)
	if ok && request.Spec.ChangeVersion != "" && request.Spec.ChangeVersion != vm.Config.ChangeVersion {
		h.task(w, r, request.This, "ReconfigVM_Task", func(*simulator.VirtualMachine) (types.AnyType, types.BaseMethodFault) {
			return nil, new(types.ConcurrentAccess)
		})
		return
	}
	h.next.ServeHTTP(w, r)
	if ok {
		version := fmt.Sprint(atomic.AddInt64(&changes, 1))
		simulator.Map.Update(vm, []types.PropertyChange{{Name: "config.changeVersion", Val: version}})
	}
}

func reset(vm *simulator.VirtualMachine) (types.AnyType, types.BaseMethodFault) {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return nil, &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn,
			ExistingState:  vm.Runtime.PowerState,
		}
	}
	booted(vm)
	return nil, nil
}

func booted(vm *simulator.VirtualMachine) {
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.bootTime", Val: time.Now().UTC()}})
}

// What vCenter's own solutions use to disable methods.
type disabledMethod struct {
	Method string `xml:"method"`
	Reason string `xml:"reasonId"`
}

type disableMethods struct {
	This   types.ManagedObjectReference   `xml:"_this"`
	Entity []types.ManagedObjectReference `xml:"entity"`
	Method []disabledMethod               `xml:"method"`
	Source string                         `xml:"sourceId"`
}

type enableMethods struct {
	This   types.ManagedObjectReference   `xml:"_this"`
	Entity []types.ManagedObjectReference `xml:"entity"`
	Method []string                       `xml:"method"`
	Source string                         `xml:"sourceId"`
}

// simulators returns the name by which the simulator knows a method.
func simulators(method string) string {
	return strings.Replace(method, "_Task", "Task", 1)
}

func addMethods() {
	types.Add("DisableMethods", reflect.TypeOf((*disableMethods)(nil)).Elem())
	types.Add("EnableMethods", reflect.TypeOf((*enableMethods)(nil)).Elem())
}

// permit takes methods out of an entity's disabled ones, and adds others.
func (h *additions) permit(
	w http.ResponseWriter, r *http.Request, name string, entities []types.ManagedObjectReference,
	out map[string]bool, in []string,
) {
	for _, entity := range entities {
		if refused := h.refusal(r, entity); refused != nil {
			pass(w, refused)
			return
		}
		vm := simulator.Map.Get(entity).(*simulator.VirtualMachine)
		var left []string
		for _, disabled := range vm.DisabledMethod {
			if !out[disabled] {
				left = append(left, disabled)
			}
		}
		vm.DisabledMethod = append(left, in...)
	}
	answer(w, name, "")
}

func (h *additions) privileges(w http.ResponseWriter, request *types.HasUserPrivilegeOnEntities) {
	var content strings.Builder
	for _, entity := range request.Entities {
		fmt.Fprintf(&content, `<returnval><entity type="%s">%s</entity>`, entity.Type, entity.Value)
		for _, id := range request.PrivId {
			granted := true
			for _, missing := range h.missing {
				granted = granted && id != missing
			}
			fmt.Fprintf(&content, `<privAvailability><privId>%s</privId><isGranted>%t</isGranted></privAvailability>`, id, granted)
		}
		content.WriteString(`</returnval>`)
	}
	answer(w, "HasUserPrivilegeOnEntities", content.String())
}

// fillZeros makes samples of nothing samples of little: Go's encoder leaves zeros out of lists, which
// vCenter doesn't.
func fillZeros() {
	for _, samples := range vpx.VmMetricData {
		for i := range samples {
			if samples[i] == 0 {
				samples[i] = 1
			}
		}
	}
}

// setDrs sets the automation of the clusters: the simulator's own reconfiguration leaves it as it is.
func setDrs(behavior string) {
	for _, entity := range simulator.Map.All("ClusterComputeResource") {
		cluster := entity.(*simulator.ClusterComputeResource)
		drs := &cluster.ConfigurationEx.(*types.ClusterConfigInfoEx).DrsConfig
		drs.Enabled = types.NewBool(behavior != "off")
		if behavior != "off" {
			drs.DefaultVmBehavior = types.DrsBehavior(behavior)
		}
	}
}

// spoil makes one datastore unreachable, fills another, and has a third in maintenance.
func spoil(inaccessible string, full string, maintenance string) {
	for _, entity := range simulator.Map.All("Datastore") {
		datastore := entity.(*simulator.Datastore)
		if datastore.Name == inaccessible {
			datastore.Summary.Accessible = false
		}
		if datastore.Name == maintenance {
			datastore.Summary.MaintenanceMode = "inMaintenance"
		}
		if datastore.Name == full {
			datastore.Summary.FreeSpace = 0
			datastore.Info.GetDatastoreInfo().FreeSpace = 0
		}
	}
}

func answer(w http.ResponseWriter, name string, content string) {
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `%s<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">`+
		`<soapenv:Body><%sResponse xmlns="urn:vim25">%s</%sResponse></soapenv:Body></soapenv:Envelope>`,
		xml.Header, name, content, name)
}

func pass(w http.ResponseWriter, refused *httptest.ResponseRecorder) {
	for key, values := range refused.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(refused.Code)
	_, _ = w.Write(refused.Body.Bytes())
}
