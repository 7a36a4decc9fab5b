import { isAlive, type LedgerModel, type ModelNode, type Step, withNode } from './model.ts'
import { emptySlot, recover, taskInSlot } from './transitions.ts'

export type ModelOrder =
  | { readonly kind: 'run'; readonly task: string; readonly token: string }
  | { readonly kind: 'restart'; readonly wish: string }
  | { readonly kind: 'ok' | 'cancel' | 'lost' | 'idle' | 'stale-node' }

type Life = { readonly node: string; readonly epoch: string }

/** A node says what it has in hand. Naming the slot's token keeps the slot; a slot for nothing is emptied when the node has nothing in hand. */
export const heartbeat = (
  ledger: LedgerModel,
  nowMs: number,
  { node: id, epoch, intent, token }: Life & { intent: ModelNode['intent']; token: string | undefined }
): Step<ModelOrder> => {
  const known = ledger.nodes.get(id)
  if (known?.epoch !== epoch) return { answer: { kind: 'stale-node' }, after: ledger }
  const node = { ...known, intent, beatMs: nowMs }
  const after = withNode(ledger, node)
  const task = taskInSlot(ledger, node)
  if (token !== undefined) {
    if (node.slot?.token !== token) return { answer: { kind: 'lost' }, after }
    const slot = { ...node.slot, endsMs: nowMs + ledger.limits.leaseMs }
    return { answer: { kind: task ? 'ok' : 'cancel' }, after: withNode(after, { ...node, slot }) }
  }
  const nothing: ModelOrder = node.restart === undefined ? { kind: 'idle' } : { kind: 'restart', wish: node.restart }
  if (!node.slot) return { answer: nothing, after }
  if (task) return { answer: { kind: 'run', task: task.id, token: node.slot.token }, after }
  return { answer: nothing, after: emptySlot(after, node) }
}

export type ModelRegistration = Life & {
  readonly url: string
  readonly intent: ModelNode['intent']
  readonly adoptToken: string | undefined
}

/** A node begins a life. One that lives elsewhere keeps the name; a new life at the same address ends the old one, whose attempt it may adopt. */
export const register = (
  ledger: LedgerModel,
  nowMs: number,
  { node: id, epoch, url, intent, adoptToken }: ModelRegistration
): Step<{ kind: 'registered' | 'adopted' } | { kind: 'refused'; url: string }> => {
  const known = ledger.nodes.get(id)
  if (known && known.epoch !== epoch && known.url !== url && isAlive(ledger, known, nowMs))
    return { answer: { kind: 'refused', url: known.url }, after: ledger }
  const life = { ...(known ?? unblemished), id, epoch, url, intent, beatMs: nowMs }
  if (!known?.slot) return { answer: { kind: 'registered' }, after: withNode(ledger, { ...life, slot: undefined }) }
  if (known.slot.token === adoptToken && taskInSlot(ledger, known)) {
    const slot = { ...known.slot, endsMs: nowMs + ledger.limits.leaseMs }
    return { answer: { kind: 'adopted' }, after: withNode(ledger, { ...life, slot }) }
  }
  const after = known.epoch === epoch ? ledger : recover(ledger, known, nowMs).after
  return { answer: { kind: 'registered' }, after: withNode(after, { ...life, slot: after.nodes.get(id)?.slot }) }
}

const unblemished = {
  isDrained: false,
  restart: undefined,
  restarted: undefined,
  faults: 0,
  quarantines: 0,
  quarantinedUntilMs: 0
}

/** An operator takes a node out of dispatch, or puts it back, whatever it was out for; what runs there goes on. False when it is not known. */
export const drain = (
  ledger: LedgerModel,
  _nowMs: number,
  { node: id, isDrained }: { readonly node: string; readonly isDrained: boolean }
): Step<boolean> => {
  const node = ledger.nodes.get(id)
  if (!node) return { answer: false, after: ledger }
  const restart = isDrained ? node.restart : undefined
  return { answer: true, after: withNode(ledger, { ...node, isDrained, restart }) }
}

type Wish = { readonly node: string; readonly wish: string }

/** An operator wants a node's ComfyUI restarted: it is given nothing until it has been. False when it is not known. */
export const wishRestart = (ledger: LedgerModel, _nowMs: number, { node: id, wish }: Wish): Step<boolean> => {
  const node = ledger.nodes.get(id)
  if (!node) return { answer: false, after: ledger }
  if (node.restarted === wish) return { answer: true, after: ledger }
  return { answer: true, after: withNode(ledger, { ...node, restart: wish }) }
}

/** The node has restarted its ComfyUI as wished. */
export const restarted = (ledger: LedgerModel, _nowMs: number, { node: id, wish }: Wish): Step<undefined> => {
  const node = ledger.nodes.get(id)
  if (node?.restart !== wish) return { answer: undefined, after: ledger }
  return { answer: undefined, after: withNode(ledger, { ...node, restart: undefined, restarted: wish }) }
}

/** A node's process is gone: its slot ends at once, and it is silent until it shows itself again. Answers the task that went back. */
export const suspect = (ledger: LedgerModel, nowMs: number, { node: id, epoch }: Life): Step<string | undefined> => {
  const known = ledger.nodes.get(id)
  if (known?.epoch !== epoch) return { answer: undefined, after: ledger }
  const node = { ...known, beatMs: Math.min(known.beatMs, nowMs - ledger.limits.aliveMs) }
  const { recovered, after } = recover(withNode(ledger, node), node, nowMs)
  return { answer: recovered, after }
}
