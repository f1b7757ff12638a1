-- The three filters for HAProxy. One state per thread: what is counted here is that thread's share.

local counts = {}
local bounds = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 }
local buckets = {}
for i = 1, #bounds + 1 do buckets[i] = 0 end

local random, format = math.random, string.format
math.randomseed(os.time() * 64 + core.thread)

local function hex64()
    return format("%08x%08x", random(0, 0xffffffff), random(0, 0xffffffff))
end

local function seconds(time)
    return time.sec + time.usec / 1000000
end

local function observe(txn, status)
    local request = txn:get_priv()
    local by_status = counts[request.method]
    if by_status == nil then
        by_status = {}
        counts[request.method] = by_status
    end
    by_status[status] = (by_status[status] or 0) + 1
    local duration = seconds(core.now()) - request.began
    local bucket = 1
    while bucket <= #bounds and duration > bounds[bucket] do bucket = bucket + 1 end
    buckets[bucket] = buckets[bucket] + 1
end

core.register_action("telemetry_request", { "http-req" }, function(txn)
    txn:set_priv({ method = txn.f:method(), began = seconds(core.now()) })
    local incoming = txn.f:req_hdr("traceparent")
    local trace, flags
    if incoming then trace, flags = incoming:match("^00%-(%x+)%-%x+%-(%x%x)$") end
    if trace == nil or #trace ~= 32 then trace, flags = hex64() .. hex64(), "01" end
    txn.http:req_set_header("traceparent", "00-" .. trace .. "-" .. hex64() .. "-" .. flags)
    if txn.f:req_hdr("x-request-id") == nil then
        txn.http:req_set_header("x-request-id", hex64() .. hex64())
    end
end)

core.register_action("telemetry_response", { "http-res" }, function(txn)
    observe(txn, txn.f:status())
end)

core.register_action("check", { "http-req" }, function(txn)
    if txn.f:req_hdr("x-api-key") ~= "open-sesame" then
        observe(txn, 403)
        txn:done(txn:reply({ status = 403, reason = "Forbidden", body = "access denied" }))
    end
end)

core.register_action("rewrite_request", { "http-req" }, function(txn)
    local path = txn.f:path()
    if path:sub(1, 4) == "/v1/" then txn.http:req_set_path("/api" .. path) end
    txn.http:req_set_header("x-zone", "eu-1")
    txn.http:req_del_header("upgrade-insecure-requests")
end)

core.register_action("rewrite_response", { "http-res" }, function(txn)
    txn.http:res_set_header("x-served-by", "haproxy")
end)
