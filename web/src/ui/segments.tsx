import type { ComponentChildren } from 'preact';

interface Option<T extends string> {
  value: T;
  /** In words; shown unless there is `content`. */
  label: string;
  content?: ComponentChildren;
}

interface Props<T extends string> {
  legend: string;
  name: string;
  value: T;
  options: readonly Option<T>[];
  onChange: (value: T) => void;
  /** Icons only: the legend is heard, not seen. */
  compact?: boolean;
}

/** A choice of a few, side by side. Radio buttons underneath, so keyboards and readers know it. */
export function Segments<T extends string>({ legend, name, value, options, onChange, compact }: Props<T>) {
  return (
    <fieldset class={compact ? 'segments compact' : 'segments'}>
      <legend class={compact ? 'unseen' : ''}>{legend}</legend>
      <div class="segments-row">
        {options.map((option) => (
          <label key={option.value} class="segment" title={compact ? option.label : undefined}>
            <input
              type="radio"
              class="unseen"
              name={name}
              value={option.value}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
            />
            {option.content}
            <span class={compact ? 'unseen' : ''}>{option.label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
