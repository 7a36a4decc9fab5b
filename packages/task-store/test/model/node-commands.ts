import type { NodeReport } from '@comfy-balancer/contract/node'
import { drain, heartbeat, register, restarted, suspect, wishRestart } from '@comfy-balancer/domain/ledger-model/nodes'
import { sweep } from '@comfy-balancer/domain/ledger-model/sweep'
import fc from 'fast-check'
import type { Intent } from '../../src/node-record.ts'
import { type Call, epochOf, kind, nodeIds, type Pick, pick, pickNode, rarely } from './command.ts'

const aReport: NodeReport = {
  comfyui: { up: true, version: '0.3.64', queueRemaining: 0, foreign: 0 },
  gpus: [],
  host: { cpuUtilization: null, memoryTotalBytes: null, memoryUsedBytes: null },
  resident: [],
  catalog: 'c1',
  progress: null
}

/** A heartbeat. */
export const beat = (node: string, epoch: string, intent: Intent, token: string | undefined): Call => ({
  text: `beat of ${node} ${epoch}, ${intent}, holds ${token ?? 'nothing'}`,
  real: async ledger => {
    const order = await ledger.nodes.heartbeat(node, epoch, aReport, intent, token)
    if (order.kind !== 'run') return order
    return { kind: 'run', task: order.assignment.record.id, token: order.assignment.token }
  },
  model: (ledger, now) => heartbeat(ledger, now, { node, epoch, intent, token })
})

type Beat = { which: Pick; stale: boolean; intent: Intent; holds: 'its token' | 'nothing' | 'another' }

const beating = kind<Beat>(
  6,
  {
    which: pick,
    stale: rarely(10),
    intent: fc.constantFrom('ready', 'ready', 'ready', 'draining', 'occupied'),
    holds: fc.constantFrom('its token', 'its token', 'nothing', 'nothing', 'another')
  },
  ({ which, stale, intent, holds }, { model }) => {
    const node = pickNode(model, which, ({ slot }) => (holds === 'nothing' ? true : slot !== undefined))
    if (!node) return []
    const tokens = { 'its token': model.nodes.get(node)?.slot?.token, nothing: undefined, another: 'never-given' }
    return [beat(node, epochOf(model, node, stale), intent, tokens[holds])]
  }
)

/** The registration of a node's life. */
export const registration = (node: string, epoch: string, url: string, intent: Intent, adoptToken?: string): Call => ({
  text: `register ${node} ${epoch} at ${url}, ${intent}, adopts ${adoptToken ?? 'nothing'}`,
  real: ledger =>
    ledger.nodes.register({
      id: node,
      epoch,
      url,
      labels: {},
      catalog: { digest: 'c1', text: '{}' },
      files: { digest: 'f1', text: '[]' },
      report: aReport,
      intent,
      adoptToken
    }),
  model: (ledger, now) => register(ledger, now, { node, epoch, url, intent, adoptToken })
})

type Register = { node: string; newLife: boolean; elsewhere: boolean; adopts: boolean; intent: Intent }

const registering = kind<Register>(
  4,
  {
    node: fc.constantFrom(...nodeIds),
    newLife: fc.boolean(),
    elsewhere: rarely(5),
    adopts: fc.boolean(),
    intent: fc.constantFrom('ready', 'ready', 'occupied')
  },
  ({ node, newLife, elsewhere, adopts, intent }, { model, fresh }) => {
    const known = model.nodes.get(node)
    const epoch = newLife || !known ? `e${fresh}` : known.epoch
    const url = elsewhere ? `http://elsewhere-${fresh}` : (known?.url ?? `http://${node}`)
    return [registration(node, epoch, url, intent, adopts ? known?.slot?.token : undefined)]
  }
)

/** A node's process is gone. */
export const suspicion = (node: string, epoch: string): Call => ({
  text: `suspect ${node} ${epoch}`,
  real: ledger => ledger.nodes.suspect(node, epoch),
  model: (ledger, now) => suspect(ledger, now, { node, epoch }),
  again: () => undefined
})

const suspecting = kind<{ which: Pick; stale: boolean }>(
  3,
  { which: pick, stale: rarely(5) },
  ({ which, stale }, { model }) => {
    const node = pickNode(model, which, ({ slot }) => slot !== undefined)
    return node ? [suspicion(node, epochOf(model, node, stale))] : []
  }
)

/** What was ended is not ended again, and slots that the guard holds back are no longer due. */
const nothingDone = { recovered: 0, requeued: 0, expired: 0, timedOut: 0, heldBack: false }

const sweeping = kind<{ limit: number }>(8, { limit: fc.constantFrom(200, 200, 1, 2) }, ({ limit }) => [
  {
    text: `sweep ${limit}`,
    real: ledger => ledger.recovery.sweep(limit),
    model: (ledger, now) => sweep(ledger, now, { limit }),
    again: limit < 200 ? 'anything' : () => nothingDone
  }
])

const draining = kind<{ which: Pick; isDrained: boolean }>(
  2,
  { which: pick, isDrained: rarely(2) },
  ({ which, isDrained }, { model }) => {
    const node = pickNode(model, which, known => known.isDrained !== isDrained)
    if (!node) return []
    return [
      {
        text: `drain ${node}: ${isDrained}`,
        real: ledger => ledger.nodes.drain(node, isDrained),
        model: (ledger, now) => drain(ledger, now, { node, isDrained })
      }
    ]
  }
)

const restarting = kind<{ which: Pick; isDone: boolean; isOld: boolean }>(
  1,
  { which: pick, isDone: fc.boolean(), isOld: rarely(5) },
  ({ which, isDone, isOld }, { model, fresh }) => {
    const node = pickNode(model, which, known => !isDone || known.restart !== undefined)
    const known = node === undefined ? undefined : model.nodes.get(node)
    if (node === undefined || !known) return []
    const old = isOld ? known.restarted : undefined
    if (!isDone) {
      const wish = old ?? `w${fresh}`
      return [
        {
          text: `restart ${node}: ${wish}`,
          real: ledger => ledger.nodes.wishRestart(node, wish),
          model: (ledger, now) => wishRestart(ledger, now, { node, wish })
        }
      ]
    }
    const wish = old ?? known.restart ?? 'never-wished'
    return [
      {
        text: `restarted ${node}: ${wish}`,
        real: ledger => ledger.nodes.restarted(node, wish),
        model: (ledger, now) => restarted(ledger, now, { node, wish })
      }
    ]
  }
)

/** The life of a node, and what ends it. */
export const nodeCommands = [beating, registering, suspecting, draining, restarting, sweeping]
