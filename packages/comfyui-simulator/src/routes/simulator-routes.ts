import { type FaultRequest, faultNames, isFaultName } from '../faults/fault.ts'
import { json, type Reply } from '../http/reply.ts'
import type { Route } from '../http/router.ts'
import { isObject, type Json, type JsonObject } from '../json/python-json.ts'
import type { ServerContext } from '../server/server-context.ts'

/** Our own routes: telling the simulator to fail, and looking inside. ComfyUI has none of them. */
export function simulatorRoutes({ fault, clearFaults, state }: ServerContext): Route[] {
  return [
    ['GET', '/simulator/state', () => json(state())],
    [
      'POST',
      '/simulator/faults',
      async request => {
        const body = await request.json()
        const wanted = isObject(body) ? readFault(body) : undefined
        if (!wanted) return unknownFault()
        fault(wanted)
        return json(state())
      }
    ],
    [
      'DELETE',
      '/simulator/faults',
      () => {
        clearFaults()
        return json(state())
      }
    ]
  ]
}

function readFault(body: JsonObject): FaultRequest | undefined {
  if (!isFaultName(body.fault)) return undefined
  const number = (value: Json | undefined) => (value === undefined || value === null ? undefined : Number(value))
  const [ms, factor, times] = [number(body.ms), number(body.factor), number(body.times)]
  return {
    fault: body.fault,
    ...(ms === undefined ? {} : { ms }),
    ...(factor === undefined ? {} : { factor }),
    ...(times === undefined ? {} : { times }),
    ...(typeof body.classType === 'string' ? { classType: body.classType } : {})
  }
}

function unknownFault(): Reply {
  return json({ error: `fault must be one of ${faultNames.join(', ')}` }, 400)
}
