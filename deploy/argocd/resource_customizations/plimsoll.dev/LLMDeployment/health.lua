-- Health of an LLMDeployment. The controller keeps the rules of kstatus: a status speaks of the
-- generation that it names, and Stalled and Reconciling are there only while they are true.
local health = {status = "Progressing", message = "Plimsoll has not looked at this object yet"}

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end

local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, wanted)
  return conditions[kind] ~= nil and conditions[kind].status == wanted
end

if is("Reconciling", "True") then
  health.message = conditions.Reconciling.message
elseif is("Stalled", "True") then
  health.status = "Degraded"
  health.message = conditions.Stalled.message
elseif is("Ready", "True") then
  health.status = "Healthy"
  health.message = conditions.Ready.message
  if is("Fits", "Unknown") then
    health.message = conditions.Fits.message
  end
elseif is("Ready", "False") then
  health.status = "Degraded"
  health.message = conditions.Ready.message
end
return health
