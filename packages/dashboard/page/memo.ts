import { Component, type ComponentType, h, type VNode } from 'preact'

/** A component that is drawn again only when one of its properties is another value. */
export const memo = <Props extends object>(Drawn: ComponentType<Props>): ComponentType<Props> =>
  class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const now = this.props as Record<string, unknown>
      return Object.entries(next).some(([name, value]) => now[name] !== value)
    }

    override render(): VNode {
      return h(Drawn, this.props) as VNode
    }
  }
