-- Health of an ImagePullSecret for Argo CD, judged as kstatus judges it: a status that does not speak of the present spec is not
-- believed, Stalled needs a person, Reconciling is work that goes on by itself, and Ready says the rest.
local health = { status = "Progressing", message = "imps has not looked at it yet" }
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
if obj.spec.suspend then
  health.status = "Suspended"
elseif conditions["Stalled"] ~= nil and conditions["Stalled"].status == "True" then
  health.status = "Degraded"
  ready = conditions["Stalled"]
elseif conditions["Reconciling"] ~= nil and conditions["Reconciling"].status == "True" then
  ready = conditions["Reconciling"]
elseif ready ~= nil and ready.status == "True" then
  health.status = "Healthy"
end
if ready ~= nil then
  health.message = ready.reason .. ": " .. ready.message
end
return health
