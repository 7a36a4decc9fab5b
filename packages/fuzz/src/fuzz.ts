import { endpoints } from '@comfy-balancer/contract/endpoints/all'
import fc from 'fast-check'
import { type ApiDocument, createApiDocument, type OpenApi } from './api-document.ts'
import { createPool, type Pool } from './pool.ts'
import { describeRequest, type WireAnswer, type WireRequest } from './request.ts'
import { createRequests } from './requests.ts'
import { createSender, type Sender } from './send.ts'
import { type Stage, smallPrompt, smallTemplate } from './stage.ts'

/** How long to go on: whichever comes first. */
export type FuzzOptions = { readonly seed: number; readonly seconds: number; readonly requests?: number }

/** An answer that was not as promised, told once for each kind. */
export type Mismatch = {
  readonly fault: string
  readonly service: string
  readonly request: string
  readonly times: number
}

export type FuzzResult = {
  readonly sent: number
  readonly serverErrors: number
  readonly mismatches: readonly Mismatch[]
  /** How often each status came. */
  readonly statuses: Readonly<Record<string, number>>
  /** Operations that were never answered with a 2xx or 3xx. */
  readonly neverServed: readonly string[]
}

const batch = 200
const atOnce = 8

type Service = { readonly name: string; readonly sender: Sender; readonly document: ApiDocument }

/** Sends generated requests to every service of a stage and holds each answer against the document that the service serves. */
export const fuzz = async (stage: Stage, { seed, seconds, requests = Infinity }: FuzzOptions): Promise<FuzzResult> => {
  const tally = createTally()
  const pool = createPool(knownOf(stage))
  const services = await Promise.all(Object.entries(stage.urls).map(([name, url]) => openService(name, url)))
  const endMs = performance.now() + seconds * 1_000
  const callers = { usual: [stage.authorization, stage.paused], odd: [stage.limited, undefined, 'Bearer nonsense'] }
  try {
    for (let n = 0; tally.sent() < requests && performance.now() < endMs; n++) {
      const made = createRequests(endpoints, { known: pool.values, callers })
      const queue = fc.sample(made, { seed: seed + n, numRuns: Math.min(batch, requests - tally.sent()) })
      await Promise.all(Array.from({ length: atOnce }, () => drain(queue, services, pool, tally, endMs)))
    }
  } finally {
    for (const { sender } of services) sender.close()
  }
  return tally.result()
}

const drain = async (
  queue: WireRequest[],
  services: readonly Service[],
  pool: Pool,
  tally: Tally,
  endMs: number
): Promise<void> => {
  while (queue.length > 0 && performance.now() < endMs) {
    const service = services[queue.length % services.length]!
    const request = queue.shift()!
    const answer = await service.sender.send(request).catch((error: Error) => error)
    if (answer instanceof Error) {
      tally.count(service, request, undefined, [`no answer: ${answer.message}`])
      continue
    }
    pool.learn(request, answer)
    tally.count(service, request, answer, service.document.faultsOf(request, answer))
  }
}

const openService = async (name: string, url: string): Promise<Service> => {
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as OpenApi
  return { name, sender: createSender(url), document: createApiDocument(document) }
}

type Tally = ReturnType<typeof createTally>

const createTally = () => {
  let sent = 0
  let serverErrors = 0
  const mismatches = new Map<string, Mismatch>()
  const statuses: Record<string, number> = {}
  const served = new Set<string>()
  return {
    sent: () => sent,
    count: (service: Service, request: WireRequest, answer: WireAnswer | undefined, faults: readonly string[]) => {
      sent++
      const status = answer?.status ?? 0
      statuses[status] = (statuses[status] ?? 0) + 1
      if (status >= 500 && status !== 503) serverErrors++
      if (status >= 200 && status < 400) served.add(operationOf(request))
      for (const fault of faults) {
        const kind = `${service.name} ${operationOf(request)} ${fault.replace(/ at \/.*/, '').slice(0, 60)}`
        const { times = 0, ...known } = mismatches.get(kind) ?? {}
        const first = { fault, service: service.name, request: describeRequest(request) }
        mismatches.set(kind, { ...first, ...known, times: times + 1 })
      }
    },
    result: (): FuzzResult => {
      const neverServed = endpoints.map(({ schema }) => schema.operationId).filter(id => !served.has(id))
      return { sent, serverErrors, mismatches: [...mismatches.values()], statuses, neverServed }
    }
  }
}

const operationOf = ({ method, target }: WireRequest): string => {
  const path = target.split('?', 1)[0]!
  const found = endpoints.find(one => one.method === method && toRegExp(one.url).test(path))
  return found?.schema.operationId ?? 'none'
}

const toRegExp = (url: string): RegExp => new RegExp(`^${url.replaceAll('.', '\\.').replace(/:[A-Za-z]+/g, '[^/]+')}$`)

/** What is there to be asked for, and what would hold the run up if it were chosen freely. */
const knownOf = ({ task }: Stage): Readonly<Record<string, readonly unknown[]>> => ({
  GenerateRequest: [
    { prompt: smallPrompt },
    { prompt: smallPrompt, priority: 100, client_id: 'me', metadata: { a: [1] }, deadlineSeconds: 60 },
    { prompt: smallPrompt, count: 2 },
    { template: smallTemplate.name, params: { width: 64 } },
    { requests: [{ prompt: smallPrompt }, { template: smallTemplate.name, params: {} }] }
  ],
  TemplateContent: [smallTemplate.content],
  PreviewRequest: [{ params: { width: 128 } }, {}],
  prompt: [smallPrompt, { ...smallPrompt, '9': { class_type: 'SaveImage', inputs: {} } }],
  template: [smallTemplate.name, 'virtual_avatar'],
  'templates.name': [smallTemplate.name, 'virtual_avatar', 'another'],
  'tasks.id': [task.id],
  output: ['1-0', '1-7'],
  'nodes.id': ['gpu-a', 'self'],
  'tenants.tenant': ['other', 'limited-2'],
  prefer: ['wait=1', 'respond-async'],
  wait: [0, 1],
  state: ['succeeded', 'queued'],
  nodeSelector: [{}],
  timeoutSeconds: [30],
  client_id: ['me']
})
