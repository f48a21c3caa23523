// SPDX-License-Identifier: Apache-2.0
//
// The DSDT of every guest: the legacy devices that exist, none of which a
// kernel could find otherwise by enumeration, the PCI host bridge, and the one
// sleep state. The numbers are those of guest/pc.h; tests/unit/test_acpi_guest.c
// compares them. What depends on the guest's RAM is in an SSDT of two names.
// Source: ACPI 6.4, chapters 6 and 7; PCI Firmware 3.2, 4.
DefinitionBlock ("", "DSDT", 2, "CORBEL", "CORBELVM", 1)
{
    // The bridge's window above 4 GiB: base and length, 0 when there is none.
    External (\PCHB, IntObj)
    External (\PCHL, IntObj)

    // SLP_TYP of PM1a_CNT; there is no PM1b_CNT.
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03f8, 0x03f8, 0, 8)
                IRQNoFlags () { 4 }
            })
        }
        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0, 2)
                IRQNoFlags () { 8 }
            })
        }
        Device (PIT)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0040, 0x0040, 0, 4)
                IRQNoFlags () { 0 }
            })
        }
        Device (PIC)
        {
            Name (_HID, EisaId ("PNP0000"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0020, 0x0020, 0, 2)
                IO (Decode16, 0x00a0, 0x00a0, 0, 2)
                IO (Decode16, 0x04d0, 0x04d0, 0, 2)
                IRQNoFlags () { 2 }
            })
        }
        // What is taken without a driver of its own: the PM block, and PCI's configuration space.
        Device (SYSR)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0600, 0x0600, 0, 12)
                Memory32Fixed (ReadWrite, 0xe0000000, 0x00100000)
            })
        }
        // Functions interrupt by messages alone: there is no routing of pins.
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)
            Name (LOWW, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0cf8, 0x0cf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x1000, 0xffff, 0, 0xf000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xc0000000, 0xdfffffff, 0, 0x20000000)
            })
            Name (HIGW, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0x100000000, 0x13fffffff, 0, 0x40000000, , , HIGH)
            })
            Method (_CRS, 0, Serialized)
            {
                If (PCHL == 0)
                {
                    Return (LOWW)
                }
                CreateQWordField (HIGW, ^HIGH._MIN, BMIN)
                CreateQWordField (HIGW, ^HIGH._MAX, BMAX)
                CreateQWordField (HIGW, ^HIGH._LEN, BLEN)
                BMIN = PCHB
                BMAX = PCHB + PCHL - 1
                BLEN = PCHL
                Return (ConcatenateResTemplate (LOWW, HIGW))
            }
            // Nothing to hand over: no hot plug, no power events, no error reporting (PCI Firmware 3.2, 4.5.1).
            Method (_OSC, 4, Serialized)
            {
                CreateDWordField (Arg3, 0, STAT)
                If (Arg0 != ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
                {
                    STAT |= 0x04
                    Return (Arg3)
                }
                If (Arg1 != 1)
                {
                    STAT |= 0x08
                    Return (Arg3)
                }
                CreateDWordField (Arg3, 8, CTRL)
                If (CTRL != 0)
                {
                    STAT |= 0x10
                    CTRL = 0
                }
                Return (Arg3)
            }
        }
    }
}
