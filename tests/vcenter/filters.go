package main

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// DvsMacNetworkRuleQualifier is the library's type of this name, which its own list of qualifiers
// doesn't take: there each of them has to be one of IP as well.
type DvsMacNetworkRuleQualifier struct {
	types.DvsNetworkRuleQualifier

	SourceAddress      types.BaseMacAddress `xml:"sourceAddress,omitempty,typeattr"`
	DestinationAddress types.BaseMacAddress `xml:"destinationAddress,omitempty,typeattr"`
	Protocol           *types.IntExpression `xml:"protocol,omitempty"`
	VlanId             *types.IntExpression `xml:"vlanId,omitempty"`
}

// GetDvsIpNetworkRuleQualifier is what that list asks for.
func (*DvsMacNetworkRuleQualifier) GetDvsIpNetworkRuleQualifier() *types.DvsIpNetworkRuleQualifier {
	return nil
}

func addQualifier() {
	types.Add("DvsMacNetworkRuleQualifier", reflect.TypeOf((*DvsMacNetworkRuleQualifier)(nil)).Elem())
}

// setFilters says whether the distributed switches can filter traffic.
func setFilters(supported bool) {
	for _, entity := range simulator.Map.All("DistributedVirtualSwitch") {
		if found, ok := entity.(*simulator.DistributedVirtualSwitch); ok {
			found.Capability.FeaturesSupported = &types.VMwareDVSFeatureCapability{
				DVSFeatureCapability: types.DVSFeatureCapability{NetworkFilterSupported: types.NewBool(supported)},
			}
		}
	}
}

// tagUplinks marks the port groups of uplinks, in which no VM can be, as vCenter does.
func tagUplinks() {
	for _, entity := range simulator.Map.All("DistributedVirtualPortgroup") {
		if group := entity.(*simulator.DistributedVirtualPortgroup); strings.Contains(group.Name, "-DVUplinks") {
			group.Tag = []types.Tag{{Key: "SYSTEM/DVS.UPLINKPG"}}
		}
	}
}

func (h *additions) addPortgroups(w http.ResponseWriter, r *http.Request, request *types.AddDVPortgroup_Task) {
	for _, spec := range request.Spec {
		if reason := wrongFilter(spec.DefaultPortConfig, request.This); reason != nil {
			h.failed(w, request.This, "AddDVPortgroup_Task", reason)
			return
		}
	}
	h.next.ServeHTTP(w, r)
	for _, entity := range simulator.Map.All("DistributedVirtualPortgroup") {
		complete(entity.(*simulator.DistributedVirtualPortgroup), false)
	}
}

// reconfigurePortgroup refuses what was decided on an older state of the port group.
func (h *additions) reconfigurePortgroup(w http.ResponseWriter, r *http.Request, request *types.ReconfigureDVPortgroup_Task) {
	group, ok := simulator.Map.Get(request.This).(*simulator.DistributedVirtualPortgroup)
	if ok {
		reason := wrongFilter(request.Spec.DefaultPortConfig, *group.Config.DistributedVirtualSwitch)
		if request.Spec.ConfigVersion != "" && request.Spec.ConfigVersion != group.Config.ConfigVersion {
			reason = new(types.ConcurrentAccess)
		}
		if reason != nil {
			h.failed(w, request.This, "ReconfigureDVPortgroup_Task", reason)
			return
		}
	}
	h.next.ServeHTTP(w, r)
	if ok {
		complete(group, true)
	}
}

// failed answers with a task that fails.
func (h *additions) failed(w http.ResponseWriter, this types.ManagedObjectReference, name string, reason types.BaseMethodFault) {
	task := simulator.CreateTask(simulator.Map.Get(this), name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		return nil, reason
	})
	answer(w, name, fmt.Sprintf(`<returnval type="Task">%s</returnval>`, task.Run().Value))
}

// wrongFilter returns why vCenter would refuse a port setting's traffic filter; nil where it wouldn't.
func wrongFilter(setting types.BaseDVPortSetting, of types.ManagedObjectReference) types.BaseMethodFault {
	rules := rulesOf(setting)
	if len(rules) == 0 {
		return nil
	}
	found := simulator.Map.Get(of).(*simulator.DistributedVirtualSwitch)
	features := found.Capability.FeaturesSupported
	if features == nil || !*features.GetDVSFeatureCapability().NetworkFilterSupported {
		return new(types.NotSupported)
	}
	for _, rule := range rules {
		kinds := map[string]int{}
		for _, qualifier := range rule.Qualifier {
			kind := fmt.Sprintf("%T", qualifier)
			kinds[kind]++
			if kinds[kind] > 1 {
				return &types.InvalidArgument{InvalidProperty: "qualifier"}
			}
		}
		direction := types.DvsNetworkRuleDirectionType(rule.Direction)
		if rule.Action == nil || (direction != types.DvsNetworkRuleDirectionTypeBoth &&
			direction != types.DvsNetworkRuleDirectionTypeIncomingPackets &&
			direction != types.DvsNetworkRuleDirectionTypeOutgoingPackets) {
			return &types.InvalidArgument{InvalidProperty: "rules"}
		}
	}
	return nil
}

func rulesOf(setting types.BaseDVPortSetting) []*types.DvsTrafficRule {
	if setting == nil || setting.GetDVPortSetting().FilterPolicy == nil {
		return nil
	}
	var found []*types.DvsTrafficRule
	for _, config := range setting.GetDVPortSetting().FilterPolicy.FilterConfig {
		if filter, ok := config.(*types.DvsTrafficFilterConfig); ok && filter.TrafficRuleset != nil {
			for i := range filter.TrafficRuleset.Rules {
				found = append(found, &filter.TrafficRuleset.Rules[i])
			}
		}
	}
	return found
}

var keys int64

// complete fills in what vCenter does: keys, and what was left out; and tells that the port group has changed.
func complete(group *simulator.DistributedVirtualPortgroup, changed bool) {
	if changed || group.Config.ConfigVersion == "" {
		group.Config.ConfigVersion = fmt.Sprint(atomic.AddInt64(&changes, 1))
	}
	for _, rule := range rulesOf(group.Config.DefaultPortConfig) {
		if rule.Key != "" {
			continue
		}
		rule.Key = fmt.Sprint(atomic.AddInt64(&keys, 1))
		for _, qualifier := range rule.Qualifier {
			qualifier.GetDvsNetworkRuleQualifier().Key = fmt.Sprint(atomic.AddInt64(&keys, 1))
			if mac, ok := qualifier.(*DvsMacNetworkRuleQualifier); ok {
				for _, address := range []types.BaseMacAddress{mac.SourceAddress, mac.DestinationAddress} {
					if address != nil && address.GetMacAddress().Negate == nil {
						address.GetMacAddress().Negate = types.NewBool(false)
					}
				}
			}
		}
	}
}
