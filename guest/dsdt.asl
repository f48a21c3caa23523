// SPDX-License-Identifier: Apache-2.0
//
// The DSDT of every guest: the legacy devices that exist, none of which a
// kernel could find otherwise by enumeration, and the one sleep state. The
// numbers are those of guest/pc.h; tests/unit/test_acpi_guest.c compares them.
// Source: ACPI 6.4, chapters 6 and 7.
DefinitionBlock ("", "DSDT", 2, "CORBEL", "CORBELVM", 1)
{
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
        // What is taken without a driver of its own: the PM block.
        Device (SYSR)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0600, 0x0600, 0, 12)
            })
        }
    }
}
