import { TaskEvent, TaskPreview } from './event.ts'
import { FleetUpdate } from './fleet-update.ts'
import { GenerateRequest, ShotRequest } from './generate.ts'
import { Group, GroupCounts } from './group.ts'
import { InputSource, UploadedInput } from './input.ts'
import { Lora } from './lora.ts'
import { ComfyUiCare, ComfyUiHealth, Fleet, Gpu, HostLoad, Node, NodeList, NodeReport } from './node.ts'
import { Health } from './probe.ts'
import { Problem } from './problem.ts'
import { QuarantinedWorkflow, QuarantineList } from './quarantine.ts'
import { Session } from './session.ts'
import { Output, Progress, Task, TaskList, Timings } from './task.ts'
import { TaskTimeline } from './task-timeline.ts'
import {
  Binding,
  InputSchema,
  OutputConfig,
  ParamSchema,
  Preview,
  PreviewRequest,
  Template,
  TemplateContent,
  TemplateList
} from './template.ts'
import { Tenant, TenantLimits } from './tenant.ts'
import {
  Webhook,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookMessage,
  WebhookSecret,
  WebhookSecretRequest
} from './webhook.ts'

/** Every named shape, in an order in which each stands after those it refers to. A server registers them all. */
export const schemas = [
  Problem,
  Output,
  Progress,
  Timings,
  Task,
  TaskList,
  TaskPreview,
  TaskEvent,
  Webhook,
  WebhookMessage,
  WebhookDelivery,
  WebhookDeliveryList,
  WebhookSecretRequest,
  WebhookSecret,
  GroupCounts,
  Group,
  ParamSchema,
  InputSchema,
  Binding,
  OutputConfig,
  TemplateContent,
  Template,
  TemplateList,
  PreviewRequest,
  Preview,
  InputSource,
  UploadedInput,
  Lora,
  ShotRequest,
  GenerateRequest,
  Gpu,
  ComfyUiCare,
  ComfyUiHealth,
  HostLoad,
  NodeReport,
  Node,
  NodeList,
  Fleet,
  FleetUpdate,
  TaskTimeline,
  QuarantinedWorkflow,
  QuarantineList,
  TenantLimits,
  Tenant,
  Session,
  Health
] as const
