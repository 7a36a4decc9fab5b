import {
  isInSlot,
  type LedgerModel,
  type ModelNode,
  type ModelTask,
  type Step
} from '@comfy-balancer/domain/ledger-model/model'
import fc from 'fast-check'
import type { Ledger } from '../../src/ledger.ts'

/** One command with all its arguments, for the ledger and for the model. */
export type Call = {
  readonly text: string
  readonly real: (ledger: Ledger) => Promise<unknown>
  readonly model: (ledger: LedgerModel, nowMs: number) => Step<unknown>
  /** What the same is answered when it is sent again at once; `'anything'` when it may do more. The first answer when not given. */
  readonly again?: ((first: unknown) => unknown) | 'anything'
}

/** What a command is made from: the ledger as it is, and a number that has not been used. */
export type Moment = { readonly model: LedgerModel; readonly nowMs: number; readonly fresh: number }

/** A command chosen before it is known what there will be; no call when there is nothing to do it to. */
export type Draft = (moment: Moment) => Call[]

/** Draws a kind of command, `weight` times as often as one of weight 1. */
export const kind = <Arguments extends object>(
  weight: number,
  arguments_: { [Name in keyof Arguments]: fc.Arbitrary<Arguments[Name]> },
  make: (arguments_: Arguments, moment: Moment) => Call[]
): fc.WeightedArbitrary<Draft> => ({
  weight,
  arbitrary: (fc.record(arguments_) as fc.Arbitrary<Arguments>).map(
    (drawn): Draft =>
      moment =>
        make(drawn, moment)
  )
})

/** True once in so many times. */
export const rarely = (times: number): fc.Arbitrary<boolean> => fc.nat({ max: times - 1 }).map(n => n === times - 1)

/** Mostly what fits the command; now and then, `odd`, anything. */
export type Pick = { readonly nth: number; readonly odd: boolean }

export const pick = fc.record<Pick>({ nth: fc.nat({ max: 5 }), odd: rarely(8) })

export const nthOf = <T>(all: readonly T[], nth: number): T | undefined => all[nth % Math.max(1, all.length)]

/** The nodes there may be; three of them from the beginning. */
export const nodeIds: readonly string[] = ['n1', 'n2', 'n3', 'n4']

/** A known node that fits, or any when odd. */
export const pickNode = (
  model: LedgerModel,
  { nth, odd }: Pick,
  fits: (node: ModelNode) => boolean
): string | undefined => nthOf(odd ? nodeIds : [...model.nodes.values()].filter(fits).map(({ id }) => id), nth)

/** A task that fits, or one that need not when odd. */
export const pickTask = (
  model: LedgerModel,
  { nth, odd }: Pick,
  fits: (task: ModelTask) => boolean,
  fitsWhenOdd: (task: ModelTask) => boolean = () => true
): ModelTask | undefined => nthOf([...model.tasks.values()].filter(odd ? fitsWhenOdd : fits), nth)

/** Every token that was given so far, and one that never was. */
export const tokensOf = (model: LedgerModel): string[] => [
  ...[...model.tasks.values()].flatMap(({ tokens }) => tokens),
  'never-given'
]

/** The epoch of a node's present life, or one of another. */
export const epochOf = (model: LedgerModel, node: string, other: boolean): string =>
  other ? 'e-other' : (model.nodes.get(node)?.epoch ?? 'e-none')

export type Report = { readonly task: string; readonly token: string }

const wasInSlot = ({ tokens }: ModelTask): boolean => tokens.length > 0

/** Draws a report about an attempt: mostly the current one of a task in a slot, now and then one that is over, or under another token. */
export const reporting = <Arguments extends object>(
  weight: number,
  arguments_: { [Name in keyof Arguments]: fc.Arbitrary<Arguments[Name]> },
  make: (own: Report, arguments_: Arguments) => Call
): fc.WeightedArbitrary<Draft> =>
  kind<{ drawn: Arguments; task: Pick; token: Pick }>(
    weight,
    { drawn: fc.record(arguments_) as fc.Arbitrary<Arguments>, task: pick, token: pick },
    ({ drawn, task: which, token: held }, { model }) => {
      const task = pickTask(model, which, isInSlot, wasInSlot)
      const token = held.odd ? nthOf(tokensOf(model), held.nth) : task?.token
      return task ? [make({ task: task.id, token: token ?? 'never-given' }, drawn)] : []
    }
  )

/** A task's id as the trace of a failure shows it. */
export const short = (id: string): string => id.replace(/^task_.{12}0*/, '#')
