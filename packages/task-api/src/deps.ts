import type { Task } from '@comfy-balancer/contract/task'
import type { KnownNode } from '@comfy-balancer/domain/admission'
import type { Outlook } from '@comfy-balancer/domain/eta'
import type { GraphPlace } from '@comfy-balancer/domain/seeds'
import type { Flaw, Workflow } from '@comfy-balancer/domain/workflow'
import type { EgressRules } from '@comfy-balancer/service-kit/egress-rules'
import type {} from '@comfy-balancer/service-kit/json-body'
import type {} from '@comfy-balancer/service-kit/open-work'
import type { Hints } from '@comfy-balancer/task-store/hints'
import type { Ledger } from '@comfy-balancer/task-store/ledger'
import type { FoundTask } from '@comfy-balancer/task-store/tasks'
import type { InputLibrary } from './inputs/input-library.ts'
import type { OutputSource } from './output-source.ts'
import type { TemplateShelf } from './templates/template-shelf.ts'

/** A part of an output's bytes, ends included. */
export type ByteRange = { readonly start: number; readonly end: number }

/** See `comfyui/exact-text`, which the services pass in. */
export type ExactText = {
  readonly membersOf: (text: string) => ReadonlyMap<string, string>
  readonly withLiterals: (bodyText: string, edits: readonly (GraphPlace & { readonly json: string })[]) => string
  readonly literalAt: (bodyText: string, graphNode: string, input: string) => string
}

/** What the task routes are built from; the service supplies the ports that lie at its edges. */
export type TaskApiDeps = {
  readonly ledger: Ledger
  readonly hints: Hints
  /** Reads the graph of a parsed request or template, or says what is wrong with it. */
  readonly readGraph: (prompt: unknown) => { readonly workflow: Workflow } | { readonly flaws: readonly Flaw[] }
  /** Reads and edits JSON texts without losing a digit of their numbers. */
  readonly exactText: ExactText
  /** Classes that no workflow may use. */
  readonly deniedClasses: ReadonlySet<string>
  /** The files that tenants bring. */
  readonly inputs: InputLibrary
  /** What of S3 may be read as LoRAs. */
  readonly loraPrefixes: readonly string[]
  /** The templates that requests may name. */
  readonly templates: TemplateShelf
  /** Every node of the last day, healthy or not. */
  readonly knownNodes: () => Promise<readonly KnownNode[]>
  /** What nodes are at and what waits, not older than a second. */
  readonly outlook: () => Promise<Outlook>
  /** A task as its caller sees it. */
  readonly viewTask: (record: FoundTask) => Promise<Task>
  /** Which URLs of callers may be called: inputs and webhooks. */
  readonly urlRules: EgressRules
  /** Where the bytes of outputs come from. */
  readonly outputs: OutputSource
  /** Labels that every task accepted here needs of its node: a comfy-service pins its tasks to itself. */
  readonly pinnedTo: Readonly<Record<string, string>>
  /** True from the moment this service begins to shut down. */
  readonly isDraining: () => boolean
  /** So many tasks may one request give. */
  readonly maxGroupTasks: number
  /** So many may follow tasks at once in this process. */
  readonly maxFollowers: number
  readonly defaults: { readonly timeoutSeconds: number; readonly deadlineSeconds: number }
}
